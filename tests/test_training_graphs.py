"""Graphs that several calls make: modules called in turn, and several graphs in one backward."""

from timed_training import Loader, Timed, adds_up
from torch import nn

import pywatt

BATCHES = 30
mse = nn.functional.mse_loss


def trained(model, step, batches=BATCHES):
    """A training of constant power in which only what the step calls takes time."""
    clock = next(m.clock for m in model.modules() if isinstance(m, Timed))
    with pywatt.TrainingProfiler(
        model,
        sensors=pywatt.ScriptedSensor([50.0], clock=clock),
        clock=clock,
        rate_hz=100.0,
        method="time",
    ) as p:
        for batch in p.epoch(Loader(clock, batches)):
            step(p, *batch)
    profile = p.result()
    assert adds_up(profile)
    return profile


def plain(loss_of):
    """A step with one forward and its backward."""

    def step(p, x, y):
        with p.phase("forward"):
            loss = loss_of(x, y)
        with p.phase("backward"):
            loss.backward()

    return step


def backward_of(profile):
    """Calls, seconds and joules of each module, and joules outside of all."""
    found = {
        row.name: (
            row.backward_calls,
            round(row.backward_time_s, 6),
            row.backward_energy_j and round(row.backward_energy_j, 6),
        )
        for row in profile.layers
    }
    return found, abs(round(profile.phase("backward").outside_j, 6))


def took(each_s, calls=BATCHES):
    """What modules that are called so often take in all, at 50 W."""
    return {
        name: (calls, round(calls * s, 6), round(calls * s * 50.0, 6) if s else None)
        for name, s in each_s.items()
    }


def test_several_graphs_in_one_backward():
    m = nn.Sequential(Timed(pywatt.ScriptedClock(), 0.1, 0.2))
    found, outside_j = backward_of(trained(m, plain(lambda x, y: mse(m(x), y) + mse(m(y), x))))
    assert found == took({"": 0.2, "0": 0.2, "0.linear": 0.0}, 2 * BATCHES)
    assert outside_j == 0.0


def test_what_follows_a_backward_in_its_phase_is_in_no_layer():
    clock = pywatt.ScriptedClock()
    m = nn.Sequential(Timed(clock, 0.1, 0.2))

    def step(p, x, y):
        with p.phase("forward"):
            losses = mse(m(x), y), mse(m(y), x)
        with p.phase("backward"):
            for loss in losses:
                loss.backward()
                clock.advance(0.4)

    found, outside_j = backward_of(trained(m, step))
    assert found == took({"": 0.2, "0": 0.2, "0.linear": 0.0}, 2 * BATCHES)
    assert outside_j == round(BATCHES * 2 * 0.4 * 50.0, 6)
