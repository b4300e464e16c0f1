"""The Pareto front of accuracy and energy: what nothing else beats in both."""

import math
from collections.abc import Sequence

from pywatt.errors import ArgumentError

# Both differences must be this many standard deviations; 2.3 % of chance differences are as large.
REAL_Z = 2.0


def dominators(
    accuracies: Sequence[float],
    energies_j: Sequence[float],
    accuracy_stds: Sequence[float] | None = None,
    energy_stds_j: Sequence[float] | None = None,
    *,
    real_z: float = REAL_Z,
) -> list[tuple[int, ...]]:
    """For each item, return the indices of those that dominate it beyond the uncertainty.

    Both differences must be at least `real_z` of their standard deviations, and one of them more
    than that. Where standard deviations are 0 this is the usual rule: no worse in either, better in
    one. The relation is transitive, since standard deviations add up no faster than differences do.

    Args:
        accuracies: accuracy of each, in any unit in which more is better.
        energies_j: energy of each in J, per sample or of equal tests.
        accuracy_stds: one standard deviation of each; None: exact.
        energy_stds_j: one standard deviation of each; None: exact.
        real_z: standard deviations from which a difference is significant.

    Raises:
        ArgumentError: for sequences of different lengths.
    """
    count = len(accuracies)
    accuracy_stds = [0.0] * count if accuracy_stds is None else accuracy_stds
    energy_stds_j = [0.0] * count if energy_stds_j is None else energy_stds_j
    if not len(energies_j) == len(accuracy_stds) == len(energy_stds_j) == count:
        raise ArgumentError("accuracies, energies and their standard deviations differ in number")

    def beats(one: int, other: int) -> bool:
        better = accuracies[one] - accuracies[other]
        saved_j = energies_j[other] - energies_j[one]
        least_better = real_z * math.hypot(accuracy_stds[one], accuracy_stds[other])
        least_saved_j = real_z * math.hypot(energy_stds_j[one], energy_stds_j[other])
        as_good = better >= least_better and saved_j >= least_saved_j
        return as_good and (better > least_better or saved_j > least_saved_j)

    return [tuple(one for one in range(count) if beats(one, other)) for other in range(count)]


def pareto_front(
    accuracies: Sequence[float],
    energies_j: Sequence[float],
    accuracy_stds: Sequence[float] | None = None,
    energy_stds_j: Sequence[float] | None = None,
    *,
    real_z: float = REAL_Z,
) -> tuple[int, ...]:
    """Return the indices of items without `dominators`, sorted by energy, least first.

    With standard deviations the front can hold more items than without: all that may be on it.
    """
    found = dominators(accuracies, energies_j, accuracy_stds, energy_stds_j, real_z=real_z)
    front = [index for index, by in enumerate(found) if not by]
    return tuple(sorted(front, key=lambda index: (energies_j[index], -accuracies[index])))
