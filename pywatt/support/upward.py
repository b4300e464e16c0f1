"""Tables of upper-floor modules by name, so that lower floors need not import them.

A result finds its renderer here when it is printed, and a saved file the class of its result.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

# Class of a result: module with `render(result, width)` and `explain(result, width)`.
RENDERERS = {
    "pywatt.calls.result.CallEnergy": "pywatt.renderers.call",
    "pywatt.command.run.CommandEnergy": "pywatt.renderers.command",
    "pywatt.comparison.result.Comparison": "pywatt.renderers.comparison",
    "pywatt.measurement.measure.Measurement": "pywatt.renderers.measurement",
    "pywatt.profiling.result.Profile": "pywatt.renderers.profile",
    "pywatt.study.result.StudyTable": "pywatt.renderers.study",
    "pywatt.training.result.Extrapolation": "pywatt.renderers.extrapolation",
    "pywatt.training.result.TrainingProfile": "pywatt.renderers.training",
}

# Format of a saved file: class with `from_dict(document)`.
FORMATS = {
    "pywatt profile": "pywatt.profiling.result.Profile",
    "pywatt training": "pywatt.training.result.TrainingProfile",
}


def renderer_of(result: object) -> ModuleType:
    """Return the module that renders a result."""
    names = (f"{cls.__module__}.{cls.__qualname__}" for cls in type(result).__mro__)
    return import_module(next(RENDERERS[name] for name in names if name in RENDERERS))


def class_of(kind: str) -> Any:
    """Return the result class of a file format; None for an unknown one."""
    if kind not in FORMATS:
        return None
    module, _, name = FORMATS[kind].rpartition(".")
    return getattr(import_module(module), name)
