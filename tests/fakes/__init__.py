"""Simulated sensors, GPUs, clocks and models that the tests share."""
