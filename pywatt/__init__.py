"""Energy of PyTorch models, layer by layer: `print(pywatt.profile(model, loader))`."""

from typing import TYPE_CHECKING, Any

from pywatt._core import ScriptedClock, ScriptedSensor, __version__
from pywatt.attribution.public import Attribution, attribute, characterize
from pywatt.attribution.result import SpanEnergy
from pywatt.attribution.sensor_model import SensorModel
from pywatt.errors import (
    ArgumentError,
    AttributionError,
    BatchError,
    CoverageError,
    FileFormatError,
    NvmlError,
    PywattError,
    ScoreDomainError,
    SensorError,
)
from pywatt.measurement import Measurement, measure
from pywatt.monitor import Monitor
from pywatt.results import LayerEnergy, Profile
from pywatt.saved import load
from pywatt.score import penalized_score, sam
from pywatt.sensors import SensorInfo, estimated_cpu, sensors
from pywatt.spans import Span
from pywatt.trace import Quality, Trace
from pywatt.windows import window

if TYPE_CHECKING:
    from pywatt.calls import CallEnergy, CallWindow, measure_call
    from pywatt.profiler import Profiler, profile

__all__ = [
    "ArgumentError",
    "Attribution",
    "AttributionError",
    "BatchError",
    "CallEnergy",
    "CallWindow",
    "CoverageError",
    "FileFormatError",
    "LayerEnergy",
    "Measurement",
    "Monitor",
    "NvmlError",
    "Profile",
    "Profiler",
    "PywattError",
    "Quality",
    "ScoreDomainError",
    "ScriptedClock",
    "ScriptedSensor",
    "SensorError",
    "SensorInfo",
    "SensorModel",
    "Span",
    "SpanEnergy",
    "Trace",
    "__version__",
    "attribute",
    "characterize",
    "estimated_cpu",
    "load",
    "measure",
    "measure_call",
    "penalized_score",
    "profile",
    "sam",
    "sensors",
    "window",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch, or takes a while, only when it is asked for."""
    if name in ("profile", "Profiler"):
        from pywatt import profiler

        return getattr(profiler, name)
    if name in ("CallEnergy", "CallWindow", "measure_call"):
        from pywatt import calls

        return getattr(calls, name)
    raise AttributeError(f"module 'pywatt' has no attribute {name!r}")
