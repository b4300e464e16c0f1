"""Energy of the windows inside a call, attributed over many calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pywatt import _core
from pywatt.attribution.choose import ADVICE, attribute
from pywatt.attribution.problem import Attributed
from pywatt.attribution.result import PathTimes, fold_by_name, fold_outermost
from pywatt.calls.result import CallWindow
from pywatt.metering.freshness import is_fine
from pywatt.metering.sensor_model import SensorModel, characterize
from pywatt.metering.source import Source
from pywatt.spans import windows
from pywatt.spans.columns import RecordedSpans

# Regression errs by more than its deviation where windows are short against the sensor's averaging
# window: in simulations of six to eight runs each, by 1.5 times its deviation where they are an
# eighth or more of it, and by 2.5 times where they are less.
MIN_WINDOW_SHARE = 1 / 8
REGRESSION_STD = 1.5

CALL_NAME = ""  # no window can have this name


class MarkedCalls:
    """Records calls and the windows that they open, while it is entered."""

    def __init__(self, clock: _core.Clock) -> None:
        self._names = [CALL_NAME]
        self._recorder = _core.SpanRecorder(clock)

    def __enter__(self) -> MarkedCalls:
        windows.activate(self)
        return self

    def __exit__(self, *_: object) -> None:
        windows.deactivate(self)
        self._recorder.close_all()

    @property
    def any(self) -> bool:
        """Whether any window was opened."""
        return len(self._names) > 1

    def open_window(self, name: str) -> Callable[[], None]:
        """Open a named window and return a function that closes it."""
        if name not in self._names:
            self._names.append(name)
        index = self._names.index(name)
        self._recorder.enter(index)

        def close() -> None:
            self._recorder.exit(index)

        return close

    def recorded(self, call: Callable[[], object]) -> Callable[[], object]:
        """Wrap the call so that it is recorded."""

        def called() -> None:
            self._recorder.enter(0)
            try:
                call()
            finally:
                self._recorder.exit(0)

        return called

    def energies(
        self,
        sources: Sequence[Source],
        models: Mapping[str, SensorModel],
        start_s: float,
        end_s: float,
    ) -> tuple[tuple[CallWindow, ...], tuple[str, ...]]:
        """Attribute the energy of all calls between two moments to the windows.

        Returns:
            The windows, without energies where a source cannot separate them, and the reasons.
        """
        spans = RecordedSpans(self._names, self._recorder)
        count = len(self._names)
        times = PathTimes.of(spans)
        opened = fold_by_name(spans.paths, times.calls, count)
        calls, seen = opened[0], opened[1:] > 0
        if not calls or not np.any(seen):
            return (), ()
        time_s = fold_outermost(spans.paths, times.time_s, count)
        shortest_s = float(np.min((time_s[1:] / opened[1:])[seen]))
        energy_j, var, notes = np.zeros(count), np.zeros(count), []
        for source in sources:
            model = models.get(source.info.name)
            if source.power is not None and not is_fine(source.power):
                model = models.get(source.power.sensor.name) or characterize(source.power, spans)
            found = attribute(source, spans, start_s, end_s, times=times, sensor_model=model)
            doubt = _doubt(found, model, shortest_s)
            if found is None or doubt is not None:
                energy_j[:] = np.nan
                notes.append(f"{source.name} cannot separate the windows inside a call: {doubt}")
                continue
            energy_j += fold_outermost(spans.paths, found.energies.energy_j, count)
            # Errors of the calls have the same sign, so their deviations add up.
            std_j = fold_outermost(spans.paths, found.energies.energy_j_std, count)
            var += (std_j * (REGRESSION_STD if found.method == "regression" else 1.0)) ** 2
        known = bool(sources) and not np.any(np.isnan(energy_j))
        return tuple(
            CallWindow(
                name=name,
                count=float(opened[k] / calls),
                duration_s=float(time_s[k] / calls),
                energy_j=float(energy_j[k] / calls) if known else None,
                energy_j_std=float(np.sqrt(var[k]) / calls) if known else None,
            )
            for k, name in enumerate(self._names)
            if k > 0 and opened[k] > 0
        ), tuple(notes)


def _doubt(found: Attributed | None, model: SensorModel | None, shortest_s: float) -> str | None:
    """Return why the windows' energies are not reliable; None where they are."""
    if found is None:
        return "its readings do not cover the calls"
    if found.method == "time":
        return "; ".join(note.removesuffix(f"; {ADVICE}") for note in found.notes)
    window_s = 0.0 if model is None else model.window_s or 0.0
    if found.method == "regression" and shortest_s < MIN_WINDOW_SHARE * window_s:
        return (
            f"some last {shortest_s * 1e3:.2g} ms, and its readings are averages over "
            f"{window_s * 1e3:.3g} ms: mark longer parts of the call"
        )
    return None
