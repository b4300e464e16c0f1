"""Replay: the energy of modules far below the sensor's resolution, each run on its own."""

from pywatt.replay.closing import Closure, close
from pywatt.replay.findings import Replayed
from pywatt.replay.runner import Replay, replay_progress
from pywatt.replay.window import steady_energy

__all__ = ["Closure", "Replay", "Replayed", "close", "replay_progress", "steady_energy"]
