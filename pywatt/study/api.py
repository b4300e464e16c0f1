"""`pywatt.Study`: a study file and its results."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pywatt.errors import StudyError
from pywatt.study.claims import claimant
from pywatt.study.record import RunRecord
from pywatt.study.result import StudyTable, study_table
from pywatt.study.settings import PlannedRun, StudySettings, read_settings
from pywatt.study.store import Store

if TYPE_CHECKING:
    from pywatt import _core
    from pywatt.sensors.selection import SensorChoice

# A run in which this many processes have died is not tried again: it may have killed them.
MAX_DEATHS = 3


class Study:
    """Many models on one task: accuracy against electricity, for training and test.

    ::

        study = pywatt.Study("digits.toml")
        print(study.run())

    Every finished run is saved at once to an SQLite file. After an interrupt or a crash, a study
    resumes where it stopped; several processes may run the same study. See docs/study.md for the
    format of the study file.

    Args:
        path: the study file.
        results: the SQLite file; None: beside the study file, with the ending ``.db``.
        sensors: sensors to read, instead of those of the study file.
        clock: a `ScriptedClock` for tests.

    Raises:
        StudyError: the file cannot be read or is invalid.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        results: str | os.PathLike[str] | None = None,
        sensors: SensorChoice | None = None,
        clock: _core.Clock | None = None,
    ) -> None:
        self.settings: StudySettings = read_settings(path)
        results = Path(path).with_suffix(".db") if results is None else Path(results)
        # Resolved now: a model may change the current directory.
        self.results = results.resolve()
        self._sensors = self.settings.sensors if sensors is None else sensors
        self._clock = clock

    def run(
        self,
        *,
        retry: bool = False,
        progress: bool | None = None,
        say: Callable[[str], object] = str,
    ) -> StudyTable:
        """Do the runs that are not done yet, and return the table of all.

        Args:
            retry: also repeat those that failed.
            progress: show a progress bar; None: only in a terminal.
            say: called with a line of text for each finished run.

        Raises:
            StudyError: a function that the study file names does not exist, or the results cannot
                be read or written. Runs finished before are kept.
            ArgumentError, SensorError: a sensor asked for by name is missing.
        """
        from pywatt.study.imports import Imports
        from pywatt.study.one_run import check_machine, perform
        from pywatt.support.progress import progress_bar

        check_machine(self.settings, self._sensors)
        imports = Imports(self.settings)
        imports.check(self.settings)
        plan = self.settings.runs()
        machine = machine_name()
        with Store(self.results, create=True) as store, claimant(self.results) as token:
            if retry:
                store.forget_failures([run.key for run in plan], machine)
            with progress_bar(self.settings.name, len(plan), progress) as advance:
                for run in plan:
                    deaths = store.claim(run.key, token, max_deaths=MAX_DEATHS)
                    if deaths is None:
                        advance()
                        continue
                    advance(0, f"{run.model.name}, seed {run.seed}")
                    record = self._dead(run, machine) if deaths == MAX_DEATHS else None
                    try:
                        record = record or perform(
                            run,
                            self.settings,
                            imports,
                            machine=machine,
                            sensors=self._sensors,
                            clock=self._clock,
                        )
                        store.finish(record)
                    except BaseException:
                        with suppress(StudyError):
                            store.release(run.key)
                        raise
                    advance()
                    say(_outcome(record))
            return self._table(store)

    def table(self) -> StudyTable:
        """Return the table of what is done so far. Raises StudyError if nothing has been run."""
        with Store(self.results) as store:
            return self._table(store)

    def _table(self, store: Store) -> StudyTable:
        plan = {run.key: run for run in self.settings.runs()}
        here = [record for record in store.records() if record.key in plan]
        claimed = len(store.claimed(plan))
        runs_are = "1 run is" if claimed == 1 else f"{claimed} runs are"
        busy = f"{runs_are} being done by another process"
        return study_table(
            self.settings.name,
            [replace(record, position=plan[record.key].position) for record in here],
            wanted=len(self.settings.seeds) * self.settings.repeats,
            models=list(dict.fromkeys((run.model.name, run.device) for run in plan.values())),
            notes=(busy,) if claimed else (),
        )

    def _dead(self, run: PlannedRun, machine: str) -> RunRecord:
        from pywatt.study.one_run import record_of

        return replace(
            record_of(run, self.settings, machine),
            error=f"{MAX_DEATHS} processes have died in it, perhaps out of memory: see the "
            "system's log; run the study with --retry to try again",
        )


def table_of(results: str | os.PathLike[str]) -> StudyTable:
    """Return the table of all runs in a results file, without its study file.

    Raises:
        StudyError: it cannot be read, is empty, or holds runs of more than one task.
    """
    with Store(Path(results)) as store:
        records = store.records()
    if not records:
        raise StudyError(f"{os.fspath(results)} holds no finished run yet: run the study first")
    _check_task(records, Path(results))
    return study_table(records[0].study, records)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Number of runs by what a merge did with them.

    Attributes:
        added: runs that were new.
        same: runs that were already present.
        kept: runs that were present with other results, which are kept.
        replaced: failed runs that were replaced by a run without an error.
    """

    added: int
    same: int
    kept: int
    replaced: int


def merge(target: str | os.PathLike[str], sources: Sequence[str | os.PathLike[str]]) -> Merged:
    """Merge the runs of several results files into one, which may exist; sources do not change.

    The same run on two machines is two runs. Where one machine has done a run twice, the file given
    first counts, unless its run failed and the other did not.

    Raises:
        StudyError: a file cannot be read or written, or the tasks differ. Nothing is merged then.
    """
    into = Path(target)
    for source in sources:
        if into.resolve() == Path(source).resolve():
            raise StudyError(f"{into} would be merged into itself: name another target file")
    found: list[RunRecord] = []
    for source in sources:
        with Store(Path(source)) as store:
            found += store.records()
    _check_task(found, into)
    with Store(into, create=True) as store:
        there = {(one.key, one.machine): one for one in store.records()}
        _check_task([*there.values(), *found], into)
        counts = {"added": 0, "same": 0, "kept": 0, "replaced": 0}
        changed: dict[tuple[str, str], RunRecord] = {}
        for one in found:
            place = one.key, one.machine
            before = changed.get(place, there.get(place))
            if before is None:
                counts["added"] += 1
            elif replace(one, position=before.position) == before:
                counts["same"] += 1
                continue
            elif before.error is not None and one.error is None:
                counts["replaced"] += 1
            else:
                counts["kept"] += 1
                continue
            changed[place] = one
        store.add(changed.values())
    return Merged(**counts)


def _check_task(records: Sequence[RunRecord], path: Path) -> None:
    tasks = {record.task: record.study for record in records}
    if len(tasks) > 1:
        raise StudyError(
            f"{path}: runs of different data or metrics ({', '.join(sorted(set(tasks.values())))}) "
            "cannot be compared: keep a results file for each"
        )


def machine_name() -> str:
    """Return the name of this computer in results: `PYWATT_MACHINE`, or its host name."""
    return os.environ.get("PYWATT_MACHINE") or platform.node() or "unnamed"


def _outcome(record: RunRecord) -> str:
    place = f"{record.model} on {record.device}, seed {record.seed}"
    if record.error is not None:
        return f"{place}: failed: {record.error}"
    accuracy = "" if record.accuracy is None else f", accuracy {record.accuracy:.4f}"
    return f"{place}: done{accuracy}"
