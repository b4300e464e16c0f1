"""Integrations with other people's training loops, imported only when asked for."""
