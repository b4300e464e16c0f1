"""Replay: the energy of modules far below the sensor's resolution, each run on its own.

Nothing is imported here: what repeats any call needs no torch, what repeats a module does.
"""
