"""Sensor readings over time, taken by the native thread. Below: sensors."""
