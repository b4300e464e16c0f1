"""Every error that pywatt raises on purpose."""


class PywattError(Exception):
    """Base class of everything that pywatt raises on purpose."""


class SensorError(PywattError):
    """A sensor is missing, may not be read, failed while being read, or was lost."""


class NvmlError(SensorError):
    """NVIDIA's management library is missing or refused a call."""


class CoverageError(PywattError):
    """Energy was requested for a time that no reading covers."""


class ArgumentError(PywattError, ValueError):
    """An argument is out of range or names something that does not exist."""


class AttributionError(PywattError):
    """The energy cannot be shared among the recorded spans."""


class ScoreDomainError(PywattError, ValueError):
    """A score is not defined for the given accuracy or energy."""


class FileFormatError(PywattError, ValueError):
    """A file is truncated, was not written by pywatt, or was written by a newer pywatt."""


class BatchError(PywattError, TypeError):
    """The model cannot be called with what the loader yields."""


class StudyError(PywattError):
    """A study file is invalid, or the results cannot be read or written."""
