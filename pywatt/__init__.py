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
from pywatt.scores.footprint import cost, emissions
from pywatt.scores.metrics import netscore, penalized_score, sam, sapi
from pywatt.sensors.discovery import estimated_cpu, sensors
from pywatt.sensors.info import SensorInfo
from pywatt.spans.columns import Span

if TYPE_CHECKING:
    from pywatt.attribution.api import Attribution, attribute, characterize
    from pywatt.calls import CallEnergy, CallWindow, measure_call
    from pywatt.comparison.compare import compare
    from pywatt.comparison.result import Comparison
    from pywatt.measurement.measure import Measurement, measure
    from pywatt.metering.energies import SpanEnergy
    from pywatt.metering.sensor_model import SensorModel
    from pywatt.profiling.profile import profile
    from pywatt.profiling.profiler import Profiler
    from pywatt.profiling.result import LayerEnergy, Profile
    from pywatt.sampling.monitor import Monitor
    from pywatt.sampling.trace import Quality, Trace
    from pywatt.scores.pareto import pareto_front
    from pywatt.spans.windows import window
    from pywatt.study.api import Study
    from pywatt.support.files import load
    from pywatt.training.loop import profile_training
    from pywatt.training.profiler import TrainingProfiler
    from pywatt.training.result import (
        EpochEnergy,
        Extrapolation,
        LayerTraining,
        PhaseEnergy,
        TrainingProfile,
        TrainingSession,
    )

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

# What needs torch or is slow to import is imported on first use.
_LATER = {
    "Attribution": "pywatt.attribution.api",
    "attribute": "pywatt.attribution.api",
    "characterize": "pywatt.attribution.api",
    "SpanEnergy": "pywatt.metering.energies",
    "SensorModel": "pywatt.metering.sensor_model",
    "CallEnergy": "pywatt.calls",
    "CallWindow": "pywatt.calls",
    "measure_call": "pywatt.calls",
    "compare": "pywatt.comparison.compare",
    "Comparison": "pywatt.comparison.result",
    "profile": "pywatt.profiling.profile",
    "Measurement": "pywatt.measurement.measure",
    "measure": "pywatt.measurement.measure",
    "Monitor": "pywatt.sampling.monitor",
    "Profiler": "pywatt.profiling.profiler",
    "LayerEnergy": "pywatt.profiling.result",
    "Profile": "pywatt.profiling.result",
    "load": "pywatt.support.files",
    "pareto_front": "pywatt.scores.pareto",
    "Study": "pywatt.study.api",
    "Quality": "pywatt.sampling.trace",
    "Trace": "pywatt.sampling.trace",
    "profile_training": "pywatt.training.loop",
    "EpochEnergy": "pywatt.training.result",
    "Extrapolation": "pywatt.training.result",
    "LayerTraining": "pywatt.training.result",
    "PhaseEnergy": "pywatt.training.result",
    "TrainingProfile": "pywatt.training.result",
    "TrainingSession": "pywatt.training.result",
    "TrainingProfiler": "pywatt.training.profiler",
    "window": "pywatt.spans.windows",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'pywatt' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LATER[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
