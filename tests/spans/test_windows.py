"""Windows in profiles and measurements, and profiles and measurements in one another."""

from contextlib import nullcontext

import pytest
import torch
from fakes.models import Work, assert_adds_up, row, scripted, traces_left

import pywatt

X = torch.ones(4, 8)


@pytest.mark.parametrize("in_forward", [True, False])
def test_windows_are_rows_that_nest(in_forward):
    clock = pywatt.ScriptedClock()
    model = Work(clock, 1.0)

    def step(model, batch):
        with pywatt.window("outer"):
            clock.advance(0.5)
            with pywatt.window("inner") if in_forward else nullcontext():
                model(batch)
            with pywatt.window("outer"):
                clock.advance(0.25)

    with pywatt.measure(**scripted(10.0, clock)) as m:
        profile = pywatt.profile(
            model, [X, X], warmup=0, forward=step, method="time", **scripted(10.0, clock)
        )
    outer = row(profile, "outer", "window")
    assert (outer.calls, outer.depth) == (4, 0)
    assert (outer.energy_j, outer.self_energy_j) == pytest.approx((35.0, 15.0), rel=1e-9)
    assert row(profile, "").energy_j == pytest.approx(20.0, rel=1e-9)
    assert_adds_up(profile)
    windows = {w.name: w.energy_j for w in m.windows}
    names = {"outer": 35.0} | ({"inner": 20.0} if in_forward else {})
    assert windows == pytest.approx(names, rel=1e-6)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_window_needs_a_name(name):
    with pytest.raises(pywatt.ArgumentError, match="needs a name"), pywatt.window(name):
        pass


def test_a_window_outside_of_everything_does_nothing():
    with pywatt.window("nowhere"):
        pass


def test_profile_inside_measure_inside_profile():
    clock = pywatt.ScriptedClock()
    model, found = Work(clock, 1.0), []

    def step(_, batch):
        with pywatt.measure(**scripted(20.0, clock)) as m:
            found.append(pywatt.profile(model, [batch], warmup=0, **scripted(10.0, clock)))
        found.append(m)

    outer = pywatt.profile(model, [X], warmup=0, forward=step, **scripted(5.0, clock))
    inner, m = found
    assert [p.energy_j for p in (inner, m, outer)] == pytest.approx([10.0, 20.0, 5.0], rel=1e-9)
    assert row(inner, "").calls == row(outer, "").calls == 1
    assert not any(traces_left(model)[0]["_forward_hooks"])
