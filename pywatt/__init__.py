"""Energy of PyTorch models, layer by layer: `print(pywatt.profile(model, loader))`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pywatt._core import ScriptedClock, ScriptedSensor, __version__
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
    StudyError,
)
from pywatt.footprint import cost, emissions
from pywatt.score import netscore, penalized_score, sam, sapi
from pywatt.sensors import SensorInfo, estimated_cpu, sensors
from pywatt.spans import Span

if TYPE_CHECKING:
    from pywatt.attribution.public import Attribution, attribute, characterize
    from pywatt.attribution.result import SpanEnergy
    from pywatt.attribution.sensor_model import SensorModel
    from pywatt.calls import CallEnergy, CallWindow, measure_call
    from pywatt.comparison.public import compare
    from pywatt.comparison.result import Comparison
    from pywatt.loader_run import profile
    from pywatt.measurement import Measurement, measure
    from pywatt.monitor import Monitor
    from pywatt.profiler import Profiler
    from pywatt.results import LayerEnergy, Profile
    from pywatt.saved import load
    from pywatt.study.pareto import pareto_front
    from pywatt.study.public import Study
    from pywatt.trace import Quality, Trace
    from pywatt.training.loop import profile_training
    from pywatt.training.result import (
        EpochEnergy,
        Extrapolation,
        LayerTraining,
        PhaseEnergy,
        TrainingProfile,
        TrainingSession,
    )
    from pywatt.training.session import TrainingProfiler
    from pywatt.windows import window

__all__ = [
    "ArgumentError",
    "Attribution",
    "AttributionError",
    "BatchError",
    "CallEnergy",
    "CallWindow",
    "Comparison",
    "CoverageError",
    "EpochEnergy",
    "Extrapolation",
    "FileFormatError",
    "LayerEnergy",
    "LayerTraining",
    "Measurement",
    "Monitor",
    "NvmlError",
    "PhaseEnergy",
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
    "Study",
    "StudyError",
    "Trace",
    "TrainingProfile",
    "TrainingProfiler",
    "TrainingSession",
    "__version__",
    "attribute",
    "characterize",
    "compare",
    "cost",
    "emissions",
    "estimated_cpu",
    "load",
    "measure",
    "measure_call",
    "netscore",
    "pareto_front",
    "penalized_score",
    "profile",
    "profile_training",
    "sam",
    "sapi",
    "sensors",
    "window",
]

# What needs torch, or takes a while, is imported when it is asked for.
_LATER = {
    "Attribution": "pywatt.attribution.public",
    "attribute": "pywatt.attribution.public",
    "characterize": "pywatt.attribution.public",
    "SpanEnergy": "pywatt.attribution.result",
    "SensorModel": "pywatt.attribution.sensor_model",
    "CallEnergy": "pywatt.calls",
    "CallWindow": "pywatt.calls",
    "measure_call": "pywatt.calls",
    "compare": "pywatt.comparison.public",
    "Comparison": "pywatt.comparison.result",
    "profile": "pywatt.loader_run",
    "Measurement": "pywatt.measurement",
    "measure": "pywatt.measurement",
    "Monitor": "pywatt.monitor",
    "Profiler": "pywatt.profiler",
    "LayerEnergy": "pywatt.results",
    "Profile": "pywatt.results",
    "load": "pywatt.saved",
    "pareto_front": "pywatt.study.pareto",
    "Study": "pywatt.study.public",
    "Quality": "pywatt.trace",
    "Trace": "pywatt.trace",
    "profile_training": "pywatt.training.loop",
    "EpochEnergy": "pywatt.training.result",
    "Extrapolation": "pywatt.training.result",
    "LayerTraining": "pywatt.training.result",
    "PhaseEnergy": "pywatt.training.result",
    "TrainingProfile": "pywatt.training.result",
    "TrainingSession": "pywatt.training.result",
    "TrainingProfiler": "pywatt.training.session",
    "window": "pywatt.windows",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'pywatt' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LATER[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
