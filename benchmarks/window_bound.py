"""How well can a short window be known at all? python benchmarks/window_bound.py

A load of two alternating pieces, whose lengths vary by some share, under a 100/25 power and a
counter of 100 ms. The bound is learned from thousands of windows with their true energies and with
every reading around them and its time known exactly: the best linear estimate, and one by boosted
trees, applied to windows not learned from. Prints their median absolute errors in percent, and that
of an estimate which knows only the load's mean power.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import HistGradientBoostingRegressor

FloatArray = npt.NDArray[np.float64]

STEP_S, AVERAGED_S = 0.1, 0.025
PIECES_S = ((0.0011, 0.0008), (0.007, 0.005), (0.007, 0.007))
POWERS_W = (650.0, 200.0)
VARY = (0.02, 0.1, 0.3)
WINDOWS_S = (0.05, 0.2)
# Readings on either side of a window; windows to learn from, and as many to test on; phases of
# window, counter and power relative to each other.
BESIDE, LEARNED, PHASES = 6, 6000, 6


def energies(
    pieces_s: tuple[float, float], vary: float, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return times, and the energy up to each."""
    pairs = int(2.4 * LEARNED * STEP_S / sum(pieces_s))
    lengths_s = np.tile(pieces_s, pairs)
    lengths_s *= np.clip(1.0 + vary * random.standard_normal(len(lengths_s)), 0.05, None)
    energy_j = np.cumsum(lengths_s * np.tile(POWERS_W, pairs))
    return np.append(0.0, np.cumsum(lengths_s)), np.append(0.0, energy_j)


def bounds(pieces_s: tuple[float, float], vary: float, window_s: float) -> FloatArray:
    """Return the median errors of the mean alone, the best linear estimate and the trees."""
    random = np.random.default_rng(0)
    moments_s, energy_j = energies(pieces_s, vary, random)

    def spent(start_s: FloatArray, end_s: FloatArray) -> FloatArray:
        known: FloatArray = np.interp(end_s, moments_s, energy_j)
        return known - np.interp(start_s, moments_s, energy_j)

    errors = []
    steps = np.arange(-BESIDE, BESIDE + 1 + round(window_s / STEP_S)) * STEP_S
    last = int(moments_s[-1] / STEP_S) - 2 * BESIDE
    for _ in range(PHASES):
        base_s = STEP_S * random.integers(2 * BESIDE, last, 2 * LEARNED)
        into_s, shown_s = STEP_S * random.random(2)
        counted = [spent(base_s + at, base_s + at + STEP_S) for at in steps]
        shown = [spent(base_s + at - AVERAGED_S, base_s + at) for at in steps + shown_s]
        seen = np.column_stack([*counted, *shown, np.ones(len(base_s))])
        truth_j = spent(base_s + into_s, base_s + into_s + window_s)
        first, then = slice(LEARNED), slice(LEARNED, None)
        line = seen @ np.linalg.lstsq(seen[first], truth_j[first], rcond=None)[0]
        trees = HistGradientBoostingRegressor(max_iter=200).fit(
            seen[first], (truth_j - line)[first]
        )
        estimates = (np.full(LEARNED, np.mean(truth_j[first])), line[then])
        estimates += (line[then] + trees.predict(seen[then]),)
        errors.append([np.abs(each / truth_j[then] - 1.0) for each in estimates])
    return np.asarray(np.median(np.concatenate(errors, axis=1), axis=1))


def main() -> None:
    table = Table("pieces", "their lengths vary by", "window", "mean alone", "best line", "trees")
    for pieces_s in PIECES_S:
        for vary in VARY:
            for window_s in WINDOWS_S:
                table.add_row(
                    " and ".join(f"{piece_s * 1e3:g}" for piece_s in pieces_s) + " ms",
                    f"{vary:.0%}",
                    f"{window_s * 1e3:.0f} ms",
                    *(f"{100 * error:.2f} %" for error in bounds(pieces_s, vary, window_s)),
                )
    Console().print(table)


if __name__ == "__main__":
    main()
