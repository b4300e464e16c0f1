"""Replay: the energy of modules far below the sensor's resolution, each run on its own."""

from pywatt.replay.closing import Closure, close
from pywatt.replay.findings import Replayed
from pywatt.replay.run_total import fitted_total
from pywatt.replay.runner import Replay, replay_progress

__all__ = ["Closure", "Replay", "Replayed", "close", "fitted_total", "replay_progress"]
