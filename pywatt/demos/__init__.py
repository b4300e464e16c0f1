"""Demonstrations: a small network profiled, and a study of five models."""
