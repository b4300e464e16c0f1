"""Short runs: repeating a loader until its energy is known, and energy per unit."""

import pytest
import torch
from fakes.models import scripted
from torch import nn

import pywatt

X = torch.ones(2, 3)


class Switching(nn.Module):
    """Runs for 10 ms, while its sensor alternates between 10 and 90 W every ms."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def forward(self, x):
        self.clock.advance(0.01)
        return x


def unsteady(clock, **options):
    sensor = pywatt.ScriptedSensor(
        [10.0, 90.0] * 50_000, [0.0023 * k for k in range(100_000)], clock=clock
    )
    return {"clock": clock, "sensors": sensor, "method": "time", "warmup": 0} | options


@pytest.mark.parametrize("loader", [[X, X], [X]], ids=["two batches", "one small batch"])
def test_a_loader_is_repeated_until_the_energy_is_known(loader):
    clock = pywatt.ScriptedClock()
    profile = pywatt.profile(Switching(clock), loader, **unsteady(clock))
    assert profile.energy_j_std <= 0.011 * profile.energy_j
    assert profile.batches > 2
    assert profile.batches % len(loader) == 0
    assert profile.samples == 2 * profile.batches
    passes = profile.batches // len(loader)
    assert any(f"repeated the loader {passes} times" in note for note in profile.notes)
    assert profile.energy_j == pytest.approx(50.0 * 0.01 * profile.batches, rel=0.05)


@pytest.mark.parametrize("options", [{"repeat": False}, {"max_batches": 2}])
def test_once_where_that_is_asked_for(options):
    clock = pywatt.ScriptedClock()
    profile = pywatt.profile(Switching(clock), [X, X], **unsteady(clock, **options))
    assert profile.batches == 2
    assert not any("repeated the loader" in note for note in profile.notes)


def test_an_iterator_cannot_be_repeated():
    clock = pywatt.ScriptedClock()
    profile = pywatt.profile(Switching(clock), iter([X, X]), **unsteady(clock))
    assert profile.batches == 2


def test_a_steady_power_is_known_at_once():
    profile = pywatt.profile(nn.Identity(), [X], **scripted())
    assert profile.batches == 1


def test_a_loader_that_gives_nothing_the_second_time():
    class Once:
        def __init__(self):
            self.left = [X, X]

        def __iter__(self):
            while self.left:
                yield self.left.pop()

    clock = pywatt.ScriptedClock()
    assert pywatt.profile(Switching(clock), Once(), **unsteady(clock)).batches == 2


def test_the_budget_ends_it():
    clock = pywatt.ScriptedClock()
    profile = pywatt.profile(Switching(clock), [X], **unsteady(clock, budget_s=0.05))
    assert profile.batches <= 10


class Tokens(nn.Module):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def forward(self, x):
        self.clock.advance(0.5)
        return torch.zeros(2, 7)


def test_energy_per_token():
    clock = pywatt.ScriptedClock()
    options = scripted(100.0, clock, unit="token", count=lambda output, batch: output.numel())
    profile = pywatt.profile(Tokens(clock), [X, X], **options)
    assert (profile.unit, profile.units, profile.samples) == ("token", 28, 4)
    assert profile.energy_per_unit_j == pytest.approx(100.0 / 28)
    assert "per token   3.571 J (28 tokens)" in str(profile)
    assert "tokens      28, 3.571 J each, measured" in profile.explain()


def test_a_number_of_units_in_each_batch():
    clock = pywatt.ScriptedClock()
    profile = pywatt.profile(
        Tokens(clock), [X, X, X], **scripted(clock=clock, unit="frame", count=5)
    )
    assert profile.units == 15


def test_samples_are_the_default_unit():
    profile = pywatt.profile(nn.Identity(), [X], **scripted())
    assert (profile.unit, profile.units) == ("sample", 2)
    assert profile.energy_per_unit_j == profile.energy_per_sample_j


def test_a_count_that_fails_is_noted():
    clock = pywatt.ScriptedClock()
    options = scripted(clock=clock, unit="token", count=lambda output, batch: output.none)
    profile = pywatt.profile(Tokens(clock), [X], **options)
    assert profile.units is None
    assert profile.energy_per_unit_j is None
    assert any("the number of tokens is not known: count raised" in note for note in profile.notes)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (-1, "count returned -1"),
        (float("nan"), "count raised TypeError"),
        (None, "count raised TypeE"),
    ],
)
def test_a_count_that_is_no_number_of_units_is_noted(count, said):
    clock = pywatt.ScriptedClock()
    options = scripted(clock=clock, unit="token", count=lambda output, batch: count)
    profile = pywatt.profile(Tokens(clock), [X], **options)
    assert (profile.units, profile.energy_per_unit_j) == (None, None)
    assert any(said in note for note in profile.notes)


def test_a_run_without_any_unit_has_no_energy_for_each():
    clock = pywatt.ScriptedClock()
    options = scripted(clock=clock, unit="token", count=lambda output, batch: torch.tensor(0))
    profile = pywatt.profile(Tokens(clock), [X], **options)
    assert (profile.units, profile.energy_per_unit_j) == (0, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unit": ""}, "unit is ''"),
        ({"unit": "token"}, "how many tokens a batch has"),
        ({"unit": "token", "count": 0}, "count is 0"),
        ({"unit": "token", "count": "many"}, "count is 'many'"),
    ],
)
def test_units_that_mean_nothing_are_an_error(options, said):
    with pytest.raises(pywatt.ArgumentError, match=said):
        pywatt.profile(nn.Identity(), [X], **scripted(), **options)
