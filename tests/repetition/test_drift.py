"""A slow drift of power, separated from the energies of kinds of calls that share it."""

import math

import numpy as np
import pytest

from pywatt.repetition.drift import fit_levels


def test_a_drift_that_all_kinds_share_is_separated_from_their_energies():
    """Power rises by 10 % over 30 s; each kind ran in another part of it for the most part."""
    time_s = np.arange(0.0, 30.0, 0.3)
    kind = np.array([0 if (t < 12.0) != (k % 5 == 0) else 1 for k, t in enumerate(time_s)])
    drift = 0.1 * (time_s / 30.0 - 0.5)
    noise = 0.001 * np.random.default_rng(0).standard_normal(len(time_s))
    found = fit_levels(time_s, kind, 1.0 + drift + noise, np.zeros(len(time_s)), 1e-4)
    plain = [np.mean((1.0 + drift)[kind == k]) for k in (0, 1)]
    assert plain[1] - plain[0] > 0.02
    apart = found.level[1] - found.level[0]
    assert abs(apart) <= 3.0 * np.hypot(*found.level_std) < 0.005
    assert found.spread == pytest.approx([0.001, 0.001], rel=0.4)
    assert found.drift_std == pytest.approx(np.std(drift), rel=0.1)


def test_without_a_drift_levels_are_means():
    time_s = np.arange(0.0, 12.0, 0.3)
    kind = np.arange(len(time_s)) % 2
    ratio = 1.0 + 0.01 * np.random.default_rng(1).standard_normal(len(time_s))
    found = fit_levels(time_s, kind, ratio, np.zeros(len(time_s)), 1e-4)
    means = [np.mean(ratio[kind == k]) for k in (0, 1)]
    assert found.level == pytest.approx(means, abs=0.3 * 0.01 / math.sqrt(20))
    assert found.level_std == pytest.approx([0.01 / math.sqrt(20)] * 2, rel=0.3)
