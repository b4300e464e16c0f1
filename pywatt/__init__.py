"""Energy of PyTorch models, layer by layer: `print(pywatt.profile(model, loader))`."""

from typing import TYPE_CHECKING, Any

from pywatt._core import ScriptedClock, ScriptedSensor, __version__
from pywatt.attribution.public import Attribution, attribute, characterize
from pywatt.attribution.result import SpanEnergy
from pywatt.attribution.sensor_model import SensorModel
from pywatt.comparison.public import compare
from pywatt.comparison.result import Comparison
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
from pywatt.measurement import Measurement, measure
from pywatt.monitor import Monitor
from pywatt.results import LayerEnergy, Profile
from pywatt.saved import load
from pywatt.score import netscore, penalized_score, sam, sapi
from pywatt.sensors import SensorInfo, estimated_cpu, sensors
from pywatt.spans import Span
from pywatt.study.pareto import pareto_front
from pywatt.trace import Quality, Trace
from pywatt.windows import window

if TYPE_CHECKING:
    from pywatt.calls import CallEnergy, CallWindow, measure_call
    from pywatt.loader_run import profile
    from pywatt.profiler import Profiler
    from pywatt.study.public import Study
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


_OF_TRAININGS = (
    "EpochEnergy",
    "Extrapolation",
    "LayerTraining",
    "PhaseEnergy",
    "TrainingProfile",
    "TrainingSession",
)


def __getattr__(name: str) -> Any:
    """Import what needs torch, or takes a while, only when it is asked for."""
    if name == "profile":
        from pywatt.loader_run import profile

        return profile
    if name == "Profiler":
        from pywatt.profiler import Profiler

        return Profiler
    if name == "profile_training":
        from pywatt.training.loop import profile_training

        return profile_training
    if name in _OF_TRAININGS:
        from pywatt.training import result

        return getattr(result, name)
    if name == "TrainingProfiler":
        from pywatt.training.session import TrainingProfiler

        return TrainingProfiler
    if name in ("CallEnergy", "CallWindow", "measure_call"):
        from pywatt import calls

        return getattr(calls, name)
    if name == "Study":
        from pywatt.study.public import Study

        return Study
    raise AttributeError(f"module 'pywatt' has no attribute {name!r}")
