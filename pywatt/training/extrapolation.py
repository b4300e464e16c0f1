"""Extrapolate a training from its first epochs, as "Watt For What" does (arXiv 2310.06522).

There the first 1 to 5 epochs are measured and their mean is taken for each of the rest. Added here
is the uncertainty: epochs differ, and a few of them show poorly by how much.
"""

from __future__ import annotations

import math
import operator

import numpy as np

from pywatt.errors import ArgumentError
from pywatt.training.result import Extrapolation, TrainingProfile

# Two-sided.
INTERVAL = 0.95


def extrapolate(profile: TrainingProfile, epochs: int) -> Extrapolation:
    """Extrapolate a training to `epochs` epochs in all; see `TrainingProfile.extrapolate`.

    The result is the energy so far (interrupted epochs included) plus, for each epoch to come, the
    mean of the complete ones. Given n epochs with sample variance s², the sum of m more differs
    from m times their mean with variance s²(m + m²/n): a prediction interval of Student's t with
    n - 1 degrees of freedom (G. Hahn, J. Am. Stat. Assoc. 64, 1969). Measurement errors common to
    all epochs do not show in s²; they are added as fully correlated.
    """
    epochs = operator.index(epochs)
    known = [e for e in profile.epochs if e.complete and e.energy_j is not None]
    done = sum(epoch.complete for epoch in profile.epochs)
    if not known or profile.energy_j is None:
        raise ArgumentError(
            "nothing can be extrapolated: no complete epoch has a known energy; train for one more"
        )
    if epochs < done:
        raise ArgumentError(f"epochs is {epochs}, but {done} were measured already: give more")
    energies_j = np.array([e.energy_j for e in known], dtype=np.float64)
    mean_j, count, ahead = float(np.mean(energies_j)), len(known), epochs - done
    mean_s = float(np.mean([e.duration_s for e in known]))
    energy_j = profile.energy_j + ahead * mean_j
    notes = [
        f"extrapolated, not measured: {done} of {epochs} epochs were measured, and each of the "
        f"other {ahead} is assumed to take their mean"
    ]
    energy_std = low_j = high_j = None
    if ahead == 0:
        notes = [f"all {done} epochs were measured: there was nothing to extrapolate"]
        energy_std = profile.energy_j_std
    elif count < 2:
        notes.append("the spread between epochs is unknown from one epoch: measure two or more")
    else:
        own_std = (profile.energy_j_std or 0.0) * energy_j / max(profile.energy_j, 1e-300)
        spread_std = float(np.std(energies_j, ddof=1)) * math.sqrt(ahead + ahead**2 / count)
        energy_std = math.hypot(spread_std, own_std)
        from scipy.stats import t  # takes a moment to import

        reach_j = math.hypot(
            float(t.ppf(0.5 + INTERVAL / 2, count - 1)) * spread_std, 1.96 * own_std
        )
        low_j, high_j = max(profile.energy_j, energy_j - reach_j), energy_j + reach_j
        if count < 3:
            notes.append("the spread is that of two epochs only, so the interval is wide")
    return Extrapolation(
        epochs=epochs,
        measured_epochs=done,
        energy_j=energy_j,
        energy_j_std=energy_std,
        low_j=low_j,
        high_j=high_j,
        duration_s=profile.duration_s + ahead * mean_s,
        estimated=profile.estimated,
        notes=tuple(notes),
    )
