"""One tool measures windows on the simulated GPU; peers.py starts it in that tool's environment.

peer_tools.py TOOL CASES: prints "ready" once the tool is set up, waits for a line, plays the cases
in real time, and prints one line of JSON: the tool's version and its readings by case. Needs only
the tool and the standard library.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peer_cases import EDGES_S, IDLE_W, Case, Reading

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from fakes.simulated_nvml import SimulatedNvml

PLAN = "PYWATT_PLANNED_LOAD"
SPIN_S = 0.0005
# Wait before each case: some power fields are a mean over a second, which still holds the last one.
SETTLING_S = 1.1
J_PER_KWH = 3.6e6
# zeus starts a polling process, which reads its load from the file named in PLAN.
STARTING_S = 10.0


class Load:
    """The windows of one case, played in real time."""

    def __init__(self, gpu: SimulatedNvml, case: Case) -> None:
        self.case = case
        self.spans: list[tuple[float, float]] = []
        self.readings: list[Reading] = []
        self.gpu = gpu

    def begin(self) -> None:
        if self.case.continuous:
            self.gpu.play(self.case.work, start_s=time.monotonic(), repeat=True)
        time.sleep(SETTLING_S)

    def __iter__(self) -> Iterator[str]:
        """Yield the windows' names, each when it is due."""
        for index, gap_s in enumerate(self.case.gaps_s()):
            time.sleep(gap_s)
            yield f"{self.case.name}, window {index}"

    def end(self) -> None:
        self.gpu.play([(1.0, IDLE_W)], start_s=time.monotonic())

    def work(self) -> None:
        """Do the window's work; unless the case is continuous, the load begins with this call."""
        start_s = time.monotonic()
        if not self.case.continuous:
            steps = [*self.case.steps(self.case.duration_s), (1.0, IDLE_W)]
            self.gpu.play(steps, start_s=start_s)
        wait_until(start_s + self.case.duration_s)
        self.spans.append((start_s, time.monotonic()))

    def plan(self, start_s: float) -> list[tuple[float, float]]:
        """Return all windows as steps from `start_s` on, instead of playing them."""
        time_s = start_s + SETTLING_S
        steps = [(SETTLING_S, IDLE_W)]
        for gap_s in self.case.gaps_s():
            begin_s = time_s + gap_s
            time_s = begin_s + self.case.duration_s
            self.spans.append((begin_s, time_s))
            steps += [(gap_s, IDLE_W), *self.case.steps(self.case.duration_s)]
        return self.case.steps(time_s - start_s) if self.case.continuous else steps

    def read(
        self,
        energy_j: float | None,
        energy_j_std: float | None = None,
        duration_s: float | None = None,
    ) -> None:
        """Take the tool's energy of the next window that has none."""
        start_s, end_s = self.spans[len(self.readings)]
        truth_j = self.gpu.true_energy_j(start_s, end_s)
        edges_s = EDGES_S if duration_s is None else duration_s - (end_s - start_s)
        self.readings.append(Reading(truth_j, energy_j, energy_j_std, edges_s))


def played(loads: list[Load]) -> Iterator[Load]:
    for load in loads:
        load.begin()
        yield load
        load.end()


def wait_until(end_s: float) -> None:
    time.sleep(max(0.0, end_s - SPIN_S - time.monotonic()))
    while time.monotonic() < end_s:
        pass


Run = Callable[[], None]


def pywatt(loads: list[Load]) -> Run:
    """Named windows in one measurement of continuous work; else one measurement for each window.

    The wait for quiet is in none of the windows.
    """
    import pywatt

    def run() -> None:
        for load in played(loads):
            if load.case.continuous:
                with pywatt.measure(sensors="nvml:0") as whole:
                    for name in load:
                        with pywatt.window(name):
                            load.work()
                for window in whole.windows:
                    load.read(window.energy_j, window.energy_j_std, window.time_s)
            else:
                for _ in load:
                    with pywatt.measure(sensors="nvml:0", quiet=load.case.quiet) as one:
                        load.work()
                    load.read(one.energy_j, one.energy_j_std, one.duration_s)

    return run


def zeus(loads: list[Load], approximate: bool = False) -> Run:
    """The energy counter before and after; nothing to synchronize, since work() waits."""
    from zeus.monitor import ZeusMonitor

    monitor = ZeusMonitor(gpu_indices=[0], cpu_indices=[], approx_instant_energy=approximate)

    def run() -> None:
        for load in played(loads):
            for name in load:
                monitor.begin_window(name, sync_execution=False)
                load.work()
                load.read(monitor.end_window(name, sync_execution=False).total_energy)

    return run


def zeus_approximate(loads: list[Load]) -> Run:
    """What zeus advises for short windows: power × time if the counter did not move."""
    return zeus(loads, approximate=True)


def zeus_power_monitor(loads: list[Load]) -> Run:
    """How zeus measures GPUs without a counter: a process polls, as fast as zeus advises.

    Work cannot be announced to that process as it begins, so all of it is planned beforehand.
    """
    from zeus.monitor import PowerMonitor

    start_s = end_s = time.monotonic() + STARTING_S
    steps = []
    for load in loads:
        steps += load.plan(end_s)
        end_s = load.spans[-1][1]
    steps.append((1.0, IDLE_W))
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as plan:
        json.dump([steps, start_s], plan)
    os.environ[PLAN] = plan.name
    loads[0].gpu.play(steps, start_s=start_s)
    monitor = PowerMonitor(gpu_indices=[0], update_period=0.05, power_domains=["device_instant"])
    Path(plan.name).unlink()
    if time.monotonic() > start_s - 1.0:
        raise RuntimeError(f"zeus's polling process took more than {STARTING_S - 1.0} s to start")

    def run() -> None:
        time.sleep(max(0.0, end_s + 0.5 - time.monotonic()))
        since_1970_s = time.time() - time.monotonic()
        for load in loads:
            for begin_s, finish_s in load.spans:
                energies = monitor.get_energy(begin_s + since_1970_s, finish_s + since_1970_s)
                load.read(None if energies is None else energies[0])
        monitor.stop()

    return run


def codecarbon(loads: list[Load]) -> Run:
    """One task per window; its GPU part is the difference of the energy counter."""
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code="USA", measure_power_secs=0.1, save_to_file=False, log_level="error"
    )
    # The first task detects the hardware.
    tracker.start_task("set up")
    tracker.stop_task("set up")

    def run() -> None:
        for load in played(loads):
            for name in load:
                tracker.start_task(name)
                load.work()
                load.read(J_PER_KWH * tracker.stop_task(name).gpu_energy)

    return run


def carbontracker(loads: list[Load]) -> Run:
    """One epoch per window, polled every 10 ms instead of every second; its PUE is taken out."""
    from carbontracker import constants
    from carbontracker.tracker import CarbonTracker

    # One epoch more than needed: after the last, it asks the network for the carbon intensity.
    epochs = sum(load.case.windows for load in loads) + 1
    tracker = CarbonTracker(
        epochs=epochs, epochs_before_pred=0, update_interval=0.01, components="gpu", verbose=0
    )

    def run() -> None:
        for load in played(loads):
            for _ in load:
                tracker.epoch_start()
                load.work()
                tracker.epoch_end()
        energies = iter(tracker.tracker.total_energy_per_epoch() / constants.PUE_2023)
        for load in loads:
            for _ in range(load.case.windows):
                load.read(J_PER_KWH * next(energies))

    return run


# Name in the table: distribution, and the function that sets the tool up.
TOOLS: dict[str, tuple[str, Callable[[list[Load]], Run]]] = {
    "pywatt": ("pywatt", pywatt),
    "zeus": ("zeus", zeus),
    "zeus approx": ("zeus", zeus_approximate),
    "zeus PowerMonitor": ("zeus", zeus_power_monitor),
    "codecarbon": ("codecarbon", codecarbon),
    "carbontracker": ("carbontracker", carbontracker),
}


def main() -> int:
    # Keep what a tool prints apart from the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, cases = sys.argv[1], [Case(**case) for case in json.loads(sys.argv[2])]
    distribution, set_up = TOOLS[name]
    gpu = SimulatedNvml()
    loads = [Load(gpu, case) for case in cases]
    run = set_up(loads)
    print("ready", file=answers, flush=True)
    sys.stdin.readline()
    run()
    answer: dict[str, Any] = {
        "version": importlib.metadata.version(distribution),
        "readings": [[asdict(reading) for reading in load.readings] for load in loads],
    }
    print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__mp_main__" and PLAN in os.environ:
    planned_steps, planned_start_s = json.loads(Path(os.environ[PLAN]).read_text())
    SimulatedNvml().play(planned_steps, start_s=planned_start_s)

if __name__ == "__main__":
    sys.exit(main())
