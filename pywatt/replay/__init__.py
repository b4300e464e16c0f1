"""Replay: measure modules far below the sensor's resolution by running each one repeatedly."""
