"""Turn traces and spans into energies with uncertainty: pure functions, one file per method."""

from pywatt.attribution.choose import METHODS, Method, attribute
from pywatt.attribution.problem import Attributed

__all__ = ["METHODS", "Attributed", "Method", "attribute"]
