"""Every error that pywatt raises on purpose."""


class PywattError(Exception):
    """Catches everything that pywatt raises on purpose."""


class SensorError(PywattError):
    """A sensor is absent, may not be read, failed while being read, or was lost."""


class NvmlError(SensorError):
    """NVIDIA's management library is absent or refused a call."""


class CoverageError(PywattError):
    """Energy was asked for a time in which no reading was taken."""


class ArgumentError(PywattError, ValueError):
    """An argument is out of its range or names something that does not exist."""


class AttributionError(PywattError):
    """The energy cannot be shared among the spans that were recorded."""


class ScoreDomainError(PywattError, ValueError):
    """A score is not defined for the accuracy or energy given."""


class FileFormatError(PywattError, ValueError):
    """A file is truncated, not pywatt's, or written by a newer pywatt."""


class BatchError(PywattError, TypeError):
    """A loader gave something that the model cannot be called with."""


class StudyError(PywattError):
    """A study's file is not what it should be, or its results cannot be read or written."""
