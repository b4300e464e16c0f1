"""Facts that several kinds of results state in the same words."""

import re
from collections.abc import Iterable, Iterator, Sequence

from pywatt.profiling.result import Profile
from pywatt.sensors.info import SensorInfo
from pywatt.support.quantities import percent, quantity, with_std
from pywatt.training.result import TrainingProfile

# How energy was shared among the layers, in three words.
METHODS = {
    "overlap": "overlap of readings",
    "regression": "regression on readings",
    "replay": "replay of layers",
    "time": "share of time",
    "none": "no layers measured",
}


def method_text(method: str) -> str:
    """Names of methods, such as "replay and time", in plain words."""
    return re.sub(r"[a-z]+", lambda name: METHODS.get(name[0], name[0]), method)


def source_of(sensors: Sequence[SensorInfo], estimated: bool) -> str:
    """Whether figures are measured or estimated, and with what."""
    metered = ", ".join(sensor.name for sensor in sensors if not sensor.estimated)
    by_model = ", ".join(sensor.name for sensor in sensors if sensor.estimated)
    if not sensors:
        return "ENERGY UNAVAILABLE"
    if not estimated:
        return f"MEASURED with {metered}"
    scales = [sensor.scale_std for sensor in sensors if sensor.scale_std is not None]
    scale = f" (±{percent(max(scales))})" if scales else ""
    if metered:
        return f"PARTLY ESTIMATED{scale}: ~ with {by_model}, the rest measured with {metered}"
    return f"ESTIMATED{scale} with {by_model}"


Run = Profile | TrainingProfile


def energy_text(run: Run) -> str:
    """The total with its ±; none for an estimate, whose scale errs by far more than its timing."""
    energy = "unavailable"
    if run.energy_j is not None:
        std_j = None if run.estimated else run.energy_j_std
        energy = f"{with_std(run.energy_j, std_j, 'J')} {run.label}"
    power = "" if run.power_w is None else f", {quantity(run.power_w, 'W')} on average"
    return f"{energy} in {quantity(run.duration_s, 's')}{power}"


def batches_text(run: Run) -> str:
    """How many batches there were."""
    return f"{run.batches:,} batch{'es' * (run.batches != 1)}"


def per_sample_text(run: Run) -> str | None:
    """Energy of one sample; None where it is not known."""
    if run.energy_per_sample_j is None:
        return None
    each = quantity(run.energy_per_sample_j, "J")
    return f"{each} ({run.samples:,} samples in {batches_text(run)})"


def samples_text(run: Run) -> str:
    """How many samples there were, and the energy of one."""
    if run.samples is None:
        return f"not known, in {batches_text(run)}"
    each = run.energy_per_sample_j
    per_sample = "" if each is None else f", {quantity(each, 'J')} each, {run.label}"
    return f"{run.samples:,} in {batches_text(run)}{per_sample}"


def resolved_text(known: int, vague: int, vague_j: float, energy_j: float | None) -> str:
    """How many of the layers were resolved, and the share of the energy of the rest."""
    if not vague:
        return f"all {known} resolved"
    share = f", {percent(max(0.0, vague_j / energy_j))} of the energy" if energy_j else ""
    return f"{vague} of {known} [not resolved]{share}: mostly run time"


def check_text(closure: float, std: float) -> str:
    """How the measured energy compares with what replay predicts of the run."""
    return f"measured / predicted energy {closure:.4f} ± {std:.4f} (1 is ideal)"


def sensor_text(
    sensor: SensorInfo, energy_j: float | None, *more: str, per_call: bool = False
) -> str:
    """A sensor with its energy, what else there is to say of it, and its caveat."""
    energy = "energy n/a" if energy_j is None else quantity(energy_j, "J") + " a call" * per_call
    return ", ".join(filter(None, (sensor.name, sensor.origin, energy, *more, sensor.note)))


def short_notes(sensors: Sequence[SensorInfo], notes: Sequence[str]) -> Iterable[str]:
    """The caveats of meters, then the notes; the headline says what an estimate is worth."""
    caveats = [f"{s.source or s.name}: {s.note}" for s in sensors if s.note and not s.estimated]
    return dict.fromkeys((*caveats, *notes_beside(sensors, notes)))


def notes_beside(sensors: Sequence[SensorInfo], notes: Sequence[str]) -> Iterator[str]:
    """The notes without those that only repeat what stands with a sensor."""
    shown = {f"{sensor.name}: {sensor.note}" for sensor in sensors}
    return (note for note in notes if note not in shown)
