"""Graphs that several calls make: of modules called in turn, of several losses or steps."""

import pytest
import torch
from fakes.timed_training import Loader, Timed, adds_up
from torch import nn
from torch.utils.checkpoint import checkpoint_sequential

import pywatt
from pywatt.training.rotation import LATE

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


def pair(clock):
    return nn.ModuleDict({"enc": Timed(clock, 0.1, 0.2), "dec": Timed(clock, 0.1, 0.1)})


def test_modules_that_are_called_in_turn():
    m = pair(pywatt.ScriptedClock())
    profile = trained(m, plain(lambda x, y: mse(m["dec"](m["enc"](x)), y)))
    found, outside_j = backward_of(profile)
    del found[""]  # is not called itself
    each_s = {"enc": 0.2, "enc.linear": 0.0, "dec": 0.1, "dec.linear": 0.0}
    assert found == took(each_s)
    assert outside_j == 0.0


def test_a_function_between_modules_is_neithers():
    clock = pywatt.ScriptedClock()
    m, between = pair(clock), Timed(clock, 0.3, 0.4)
    profile = trained(m, plain(lambda x, y: mse(m["dec"](between(m["enc"](x))), y)))
    found, outside_j = backward_of(profile)
    assert took({"enc": 0.2}).items() <= found.items()
    assert took({"dec": 0.1}).items() <= found.items()
    assert outside_j == BATCHES * 0.4 * 50.0


def test_an_output_that_the_loss_does_not_use():
    """The node that was made last in a call does not run then."""
    clock = pywatt.ScriptedClock()

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = Timed(clock, 0.1, 0.2), Timed(clock, 0.1, 0.4)

        def forward(self, x):
            return self.used(x), self.unused(x)

    m = nn.ModuleDict({"enc": Two(), "dec": Timed(clock, 0.1, 0.1)})
    found, outside_j = backward_of(trained(m, plain(lambda x, y: mse(m["dec"](m["enc"](x)[0]), y))))
    assert took({"enc": 0.2, "enc.used": 0.2, "dec": 0.1}).items() <= found.items()
    assert found["enc.unused"] == (0, 0.0, None)
    assert outside_j == 0.0


def test_a_head_that_the_loss_function_calls():
    clock = pywatt.ScriptedClock()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = Timed(clock, 0.1, 0.2), Timed(clock, 0.1, 0.1)

        def forward(self, x):
            return self.body(x)

    m = Model()
    profile = pywatt.profile_training(
        *(m, Loader(clock, BATCHES)),
        loss_fn=lambda output, y: mse(m.head(output), y),
        optimizer=torch.optim.SGD(m.parameters(), 0.01),
        sensors=pywatt.ScriptedSensor([50.0], clock=clock),
        clock=clock,
        method="time",
    )
    found, outside_j = backward_of(profile)
    assert took({"": 0.2, "body": 0.2, "head": 0.1}).items() <= found.items()
    assert outside_j == 0.0


def test_a_checkpointed_segment_of_several_modules():
    clock = pywatt.ScriptedClock()
    m = nn.Sequential(*(Timed(clock, 0.1, 0.2) for _ in range(4)))

    def loss_of(x, y):
        return mse(checkpoint_sequential(m, 2, x.requires_grad_(), use_reentrant=True), y)

    found, outside_j = backward_of(trained(m, plain(loss_of)))
    del found[""]
    # The last segment is not run again.
    each_s = {"0": 0.3, "1": 0.3, "2": 0.2, "3": 0.2}
    assert took(each_s).items() <= found.items()
    assert outside_j == 0.0


# Backward of other steps' forward: what a module took in it is not known.


def every(batches):
    """One backward for the losses of so many batches."""

    def backward(losses):
        if len(losses) == batches:
            sum(losses).backward()
            losses.clear()

    return backward


def of_the_step_before(losses):
    if len(losses) == 2:
        losses.pop(0).backward()


@pytest.mark.parametrize("backward", [every(4), every(2), of_the_step_before])
@pytest.mark.parametrize("batches", [8, 40])
@pytest.mark.parametrize("each_s", [1.0, 100.0])
def test_a_backward_of_earlier_steps_is_not_reported_by_layer(backward, batches, each_s):
    """Also where a step takes so long that each is a segment of its own."""
    m = nn.Sequential(Timed(pywatt.ScriptedClock(), 0.1 * each_s, 0.2 * each_s))
    losses = []

    def step(p, x, y):
        with p.phase("forward"):
            losses.append(mse(m(x), y))
        with p.phase("backward"):
            backward(losses)

    profile = trained(m, step, batches)
    phase = profile.phase("backward")
    backwards = batches - (backward is of_the_step_before)
    assert phase.time_s == pytest.approx(backwards * 0.2 * each_s)
    assert phase.energy_j == pytest.approx(phase.time_s * 50.0)
    assert phase.outside_j is None
    for row in profile.layers:
        assert row.forward_calls == batches
        assert (row.backward_calls, row.backward_time_s) == (0, 0.0)
        assert (row.backward_energy_j, row.backward_self_energy_j) == (None, None)
    assert profile.layers[0].forward_energy_j == pytest.approx(batches * 0.1 * each_s * 50.0)
    assert [n for n in profile.notes if "backward pass" in n] == [LATE]
