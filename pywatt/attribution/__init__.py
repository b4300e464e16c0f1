"""From traces and spans to energies with their uncertainty: pure functions, one file a method."""

from pywatt.attribution.choose import METHODS, Method, attribute
from pywatt.attribution.problem import Attributed

__all__ = ["METHODS", "Attributed", "Method", "attribute"]
