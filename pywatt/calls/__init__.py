"""The energy of one call of any function, however short: repeat it until the energy is known."""

from pywatt.calls.measure import measure_call
from pywatt.calls.result import CallEnergy, CallWindow

__all__ = ["CallEnergy", "CallWindow", "measure_call"]
