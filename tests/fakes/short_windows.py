"""Windows on a scripted clock that the simulated GPU follows, beside their truth."""

import random
from dataclasses import dataclass

import numpy as np

import pywatt
from fakes.simulated_model import IDLE_W, FollowedClock

PHASES = range(20)


@dataclass(frozen=True)
class Figures:
    """Energies with their deviations, beside the truth, each of shape (windows,)."""

    energy_j: np.ndarray
    std_j: np.ndarray
    truth_j: np.ndarray

    @classmethod
    def of(cls, gpus, found):
        """Found is (energy_j, energy_j_std, start_s, end_s) of each window."""
        energy_j, std_j, start_s, end_s = np.array(found).T
        truth_j = [gpus.true_energy_j(*edges) for edges in zip(start_s, end_s, strict=True)]
        return cls(energy_j, std_j, np.array(truth_j))

    @property
    def errors(self):
        return np.abs(self.energy_j / self.truth_j - 1.0)

    @property
    def deviations(self):
        return np.abs(self.energy_j - self.truth_j) / self.std_j

    def __str__(self):
        return (
            f"median {np.median(self.errors):.2%}, worst {np.max(self.errors):.2%}, "
            f"{np.max(self.deviations):.1f} standard deviations at most, "
            f"of {np.median(self.std_j / self.truth_j):.2%}"
        )


def clock_of(gpus, seed, **meter):
    """A scripted clock, and a GPU whose sensors have phases of their own to it."""
    phase = random.Random(seed).random
    gpus.reset()
    phases_s = {"phase_s": 0.1 * phase(), "counter_phase_s": 0.1 * phase()}
    gpus.configure(**(phases_s | meter))
    return FollowedClock(gpus)


def named_windows(gpus, clock, count, duration_s):
    edges = []
    with pywatt.measure(sensors="nvml:0", clock=clock) as m:
        for i in range(count):
            start_s = clock.now_s()
            with pywatt.window(str(i)):
                clock.advance(duration_s)
            edges.append((start_s, clock.now_s()))
    clock.advance(0.3)
    rows = zip(m.windows, edges, strict=True)
    return Figures.of(gpus, [(w.energy_j, w.energy_j_std, *edge) for w, edge in rows])


def separate_blocks(gpus, clock, count, duration_s):
    blocks = []
    for _ in range(count):
        start_s = clock.now_s()
        with pywatt.measure(sensors="nvml:0", clock=clock) as m:
            clock.advance(duration_s)
        blocks.append((m, start_s, clock.now_s()))
    clock.advance(0.3)
    return Figures.of(gpus, [(m.energy_j, m.energy_j_std, *edge) for m, *edge in blocks])


def block(gpus, clock, steps, duration_s, *, then=((1.0, IDLE_W),), **options):
    """Measure a block whose load begins and ends with it."""
    with pywatt.measure(sensors="nvml:0", clock=clock, **options) as m:
        start_s = clock.now_s()
        gpus.play(steps, start_s=start_s, repeat=True)
        gpus.play(then, start_s=start_s + duration_s, repeat=True)
        clock.advance(duration_s)
    if not options:
        clock.advance(0.3)
    return m, start_s


def blocks(gpus, steps, duration_s, **options):
    found = []
    for seed in PHASES:
        clock = clock_of(gpus, seed)
        clock.advance(0.5 + 0.1 * random.Random(seed).random())
        m, start_s = block(gpus, clock, steps, duration_s, **options)
        truth_j = gpus.true_energy_j(start_s, start_s + duration_s)
        found.append((m.energy_j, m.energy_j_std, truth_j))
    return Figures(*np.array(found).T)
