"""From traces and spans to energies with their uncertainty: pure functions, one file a method."""

from pywatt.attribution.case import Attributed
from pywatt.attribution.choose import METHODS, Method, attribute

__all__ = ["METHODS", "Attributed", "Method", "attribute"]
