"""The energy of a whole training from its first epochs."""

from dataclasses import replace

import numpy as np
import pytest
from fakes.timed_training import STEP_J, Raises, Training

import pywatt


def with_epochs(energies_j, std_j=0.0):
    """A training whose epochs took so much."""
    profile = Training(batches=1).run(epochs=len(energies_j))
    epochs = [
        pywatt.EpochEnergy(
            index=k,
            energy_j=energy_j,
            energy_j_std=std_j,
            duration_s=2.0,
            batches=1,
            samples=4,
            loss=None,
        )
        for k, energy_j in enumerate(energies_j)
    ]
    return replace(
        profile,
        epochs=tuple(epochs),
        energy_j=float(sum(energies_j)),
        energy_j_std=std_j,
        duration_s=2.0 * len(energies_j),
    )


def test_the_first_epochs_predict_the_whole_training():
    found = with_epochs([100.0, 104.0, 96.0]).extrapolate(12)
    # So far 300 J, and 9 more of 100 J; s = 4 J, so 4·√(9 + 81/3) = 24 J, and t(2) = 4.303.
    assert found.energy_j == pytest.approx(1200.0)
    assert found.energy_j_std == pytest.approx(24.0)
    assert found.low_j == pytest.approx(1200.0 - 4.3026527 * 24.0)
    assert found.high_j == pytest.approx(1200.0 + 4.3026527 * 24.0)
    assert found.duration_s == pytest.approx(24.0)
    assert (found.epochs, found.measured_epochs, found.estimated) == (12, 3, False)
    assert found.notes[0].startswith("extrapolated, not measured")


def test_the_measurements_own_error_is_the_same_for_all_epochs():
    found = with_epochs([100.0, 100.0, 100.0], std_j=3.0).extrapolate(30)
    assert found.energy_j_std == pytest.approx(30.0)
    assert found.high_j == pytest.approx(3000.0 + 1.96 * 30.0)


def test_one_epoch_gives_no_spread():
    found = with_epochs([100.0]).extrapolate(10)
    assert found.energy_j == pytest.approx(1000.0)
    assert (found.energy_j_std, found.low_j, found.high_j) == (None, None, None)
    assert any("spread between epochs is unknown" in note for note in found.notes)
    assert "spread unknown" in str(found)


def test_the_interval_holds_what_comes():
    """Of many trainings of 40 epochs, 95 % end within the interval from the first 5."""
    rng = np.random.default_rng(0)
    profile = with_epochs([1.0] * 5)
    within = 0
    for _ in range(1000):
        energies_j = 100.0 + 5.0 * rng.standard_normal(40)
        found = replace(
            profile,
            epochs=tuple(
                replace(epoch, energy_j=float(energy_j))
                for epoch, energy_j in zip(profile.epochs, energies_j, strict=False)
            ),
            energy_j=float(np.sum(energies_j[:5])),
        ).extrapolate(40)
        within += found.low_j <= float(np.sum(energies_j)) <= found.high_j
    assert 0.93 <= within / 1000 <= 0.97


def test_nothing_to_extrapolate():
    profile = with_epochs([100.0, 102.0])
    assert profile.extrapolate(2).energy_j == pytest.approx(202.0)
    assert str(profile.extrapolate(2)) == "202 J for all 2 epochs, measured, in 4 s"
    with pytest.raises(pywatt.ArgumentError, match="2 were measured already"):
        profile.extrapolate(1)


def test_an_epoch_that_was_interrupted_is_counted_and_not_taken_for_one():
    training = Training(batches=4)
    with pytest.raises(ValueError, match="no more") as raised:
        training.run(epochs=4, step_fn=Raises(training, 10, ValueError("no more")))
    partial = raised.value.partial_profile
    found = partial.extrapolate(5)
    assert found.measured_epochs == 2
    assert found.energy_j == pytest.approx(partial.energy_j + 3 * 4 * STEP_J, rel=0.005)
