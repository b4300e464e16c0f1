"""Bad input is refused clearly, and what was measured until an error is kept."""

import pytest
import torch
from fakes import models
from fakes.models import Raising, Work, assert_adds_up, row, scripted, traces_left
from torch import nn

import pywatt

X = torch.ones(4, 8)


class Stop(BaseException):
    """Not an Exception, as Ctrl-C."""


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3), Stop()])
@pytest.mark.parametrize("inner", [nn.Identity, models.encoder_layer])
def test_an_exception_propagates_with_what_was_measured(error, inner):
    clock = pywatt.ScriptedClock()
    model = Work(clock, 1.0, raising=Raising(error), inner=inner().eval())
    batches = [torch.ones(models.SEQUENCES)] * 5
    before = traces_left(model)
    with pytest.raises(type(error)) as raised:
        pywatt.profile(model, batches, warmup=0, **scripted(10.0, clock))
    assert raised.value is error
    after = traces_left(model)
    after[1]["calls"] = before[1]["calls"]
    assert after == before
    partial = error.partial_profile
    assert partial.batches == 1
    assert partial.samples == 4
    assert [row(partial, name).calls for name in ("", "raising", "inner")] == [2, 2, 1]
    assert partial.energy_j == pytest.approx(20.0, rel=1e-9)
    assert row(partial, "").energy_j == pytest.approx(20.0, rel=1e-9)
    assert f"the run ended early with {type(error).__name__}" in " ".join(partial.notes)
    assert_adds_up(partial)
    with pywatt.window("reaches nothing"):
        pass


def test_an_exception_in_the_loader_keeps_what_was_measured():
    def loader():
        yield from (X, X)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as raised:
        pywatt.profile(nn.Identity(), loader(), **scripted())
    assert raised.value.partial_profile.batches == 2


def test_an_exception_that_the_model_catches_is_a_call():
    clock = pywatt.ScriptedClock()
    raising = Raising(ValueError("caught"))

    class Catching(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = Work(clock, 0.5, raising=raising)
            self.rest = Work(clock, 2.0)

        def forward(self, x):
            try:
                self.inside(x)
            except ValueError:
                clock.advance(0.25)
            return self.rest(x)

    profile = pywatt.profile(Catching(), [X, X], warmup=0, **scripted(10.0, clock))
    found = {entry.name: (entry.calls, entry.energy_j) for entry in profile.layers}
    assert found[""] == (2, pytest.approx(52.5, rel=1e-9))
    assert found["inside"] == (2, pytest.approx(10.0, rel=1e-9))
    assert found["inside.raising"] == (2, pytest.approx(0.0, abs=1e-9))
    assert found["rest"] == (2, pytest.approx(40.0, rel=1e-9))
    assert_adds_up(profile)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"loader": []}, pywatt.ArgumentError, "gave no batch"),
        ({"loader": X}, pywatt.BatchError, r"give batches, such as \[batch\]"),
        ({"loader": {"x": X}}, pywatt.BatchError, r"give batches, such as \[batch\]"),
        ({"loader": 3}, pywatt.BatchError, "an object of type int"),
        ({"loader": ["text"]}, pywatt.BatchError, "an object of type str.*give forward="),
        ({"loader": [None]}, pywatt.BatchError, "an object of type NoneType"),
        ({"loader": [()]}, pywatt.BatchError, "a tuple of 0"),
        ({"loader": [torch.ones(2, 3)]}, pywatt.BatchError, r"shape \(2, 3\).*mat1 and mat2"),
        ({"loader": [{"a": X}]}, pywatt.BatchError, "unexpected keyword argument 'a'"),
        ({"sensors": "gpu"}, pywatt.ArgumentError, "those that can be read:.*cpu:estimated"),
        ({"sensors": []}, pywatt.ArgumentError, "no sensor was given"),
        ({"sensors": 3}, pywatt.ArgumentError, "not int"),
        ({"rate_hz": 0}, pywatt.ArgumentError, "from 1 to 10000 Hz"),
        ({"rate_hz": 1e9}, pywatt.ArgumentError, "from 1 to 10000 Hz"),
        ({"rate_hz": float("nan")}, pywatt.ArgumentError, "from 1 to 10000 Hz"),
        ({"method": "magic"}, pywatt.ArgumentError, "auto, overlap, regression, time"),
        ({"accuracy": "top5"}, pywatt.ArgumentError, "'auto', a function or None"),
        ({"warmup": -1}, pywatt.ArgumentError, "at least 0, or 'auto'"),
        ({"max_batches": 0}, pywatt.ArgumentError, "at least 1, or None"),
        ({"max_batches": 1.5}, pywatt.ArgumentError, "max_batches is 1.5"),
        ({"warmup": None}, pywatt.ArgumentError, "warmup is None"),
        ({"forward": 5}, pywatt.ArgumentError, "forward must be a function"),
        ({"rate_hz": "fast"}, pywatt.ArgumentError, "rate_hz is 'fast'"),
        ({"device": "abacus"}, pywatt.ArgumentError, "'abacus', which torch does not have"),
        ({"model": print}, pywatt.ArgumentError, "must be a torch.nn.Module"),
    ],
)
@pytest.mark.parametrize("warmup", [0, 1])
def test_bad_input_is_an_error(options, error, said, warmup):
    model = nn.Linear(8, 8)
    before = traces_left(model)
    options = {"model": model, "loader": [X], "warmup": warmup, **scripted()} | options
    with pytest.raises(error, match=said):
        pywatt.profile(options.pop("model"), options.pop("loader"), **options)
    assert traces_left(model) == before


@pytest.mark.parametrize("warmup", [0, 1])
def test_what_the_users_forward_raises_is_not_put_into_other_words(warmup):
    def forward(model, batch):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        pywatt.profile(nn.Identity(), [X], forward=forward, warmup=warmup, **scripted())


def test_a_later_batch_that_does_not_fit_keeps_what_was_measured():
    with pytest.raises(RuntimeError, match="mat1 and mat2") as raised:
        pywatt.profile(nn.Linear(8, 8), [X, torch.ones(2, 3)], **scripted())
    assert raised.value.partial_profile.batches == 1


def test_a_profiler_is_used_once_and_asked_afterwards():
    profiler = pywatt.Profiler(nn.Identity(), **scripted())
    with pytest.raises(pywatt.PywattError, match="exit the profiler's"):
        profiler.result()
    with profiler, pytest.raises(pywatt.PywattError, match="exit the profiler's"):
        profiler.result()
    assert profiler.result().energy_j == 0.0
    with pytest.raises(pywatt.PywattError, match="already used"), profiler:
        pass


def test_no_module_was_called():
    clock = pywatt.ScriptedClock()
    with pywatt.Profiler(nn.Identity(), **scripted(10.0, clock)) as profiler:
        clock.advance(1.0)
    profile = profiler.result()
    assert profile.outside_j == profile.energy_j == pytest.approx(10.0, rel=1e-9)
    assert "no module was called" in " ".join(profile.notes)
    assert "Identity" in str(profile)


def test_one_given_sensor_covers_every_device():
    model = nn.Sequential(nn.Linear(8, 8, device="meta"), nn.ReLU())
    profile = pywatt.profile(model, [X], sensors="cpu:estimated", budget_s=1.0)
    assert row(profile, "0").energy_j is not None
    assert "cpu:estimated is the only sensor given: it is used for meta too" in profile.notes
    automatic = pywatt.profile(model, [X], budget_s=1.0)
    assert row(automatic, "0").energy_j is None
    assert "no sensor covers meta" in " ".join(automatic.notes)
    assert automatic.energy_j is None or automatic.energy_j == 0.0
