"""Calls that raise, and devices that fail, among parts on simulated CUDA devices."""

from __future__ import annotations

import contextlib
import copy
import pickle

import pytest
import torch
from fakes.cuda_machine import Machine, Part, finished, layers, two_stages
from fakes.models import assert_adds_up
from torch import nn

from pywatt.profiling.result import Profile
from pywatt.sampling.monitor import Monitor


class Ended(BaseException):
    """What torch runs no hooks for, like KeyboardInterrupt."""


class Raises(Part):
    error: BaseException = ValueError("the user's")

    def forward(self) -> None:
        super().forward()
        raise self.error


def hooked(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]


@pytest.mark.parametrize("error", [ValueError("the user's"), Ended()])
def test_calls_that_raise_leave_the_others_exact(machine: Machine, error: BaseException) -> None:
    inner = Raises(machine, "cuda:0", kernel_s=0.1)
    inner.error = error
    model = Part(machine, "cuda:0", inner)

    class Catches(Part):
        def forward(self) -> None:
            machine.cuda.launch(0.1)
            with contextlib.suppress(ValueError, Ended):
                super().forward()
            machine.cuda.launch(0.2)

    outer = Catches(machine, "cuda:0", model)
    profile = machine.profile(outer, machine.power("cuda:0", (0.0, 100.0)))
    found = layers(profile)
    assert found[""].energy_j == pytest.approx(40.0)
    # torch calls the hooks of a module that raises an Exception, and of no other.
    ends_seen = isinstance(error, Exception)
    assert found["0.0"].calls == (1 if ends_seen else 0)
    assert found[""].self_energy_j == pytest.approx(30.0 if ends_seen else 40.0)
    assert_adds_up(profile)


def broken(machine: Machine, model: nn.Module, *, users: bool) -> Profile:
    """The device breaks after 0.1 s; a profile of what was measured until then."""
    hooks = machine.hooks(model)
    monitor = Monitor([machine.power("cuda:0", (0.0, 100.0))], clock=machine.clock)
    cuda_error = RuntimeError("CUDA error: an illegal memory access was encountered")
    expected: Exception = ValueError("the user's") if users else cuda_error

    def work() -> None:
        with hooks:
            model()
            machine.clock.advance(0.1)
            machine.cuda.error = cuda_error
            model()
            hooks.synchronize()
            if users:
                raise expected

    with monitor:
        with pytest.raises(type(expected)) as raised:
            work()
        assert raised.value is expected
        machine.clock.advance(0.1)
    assert hooked(model) == []
    return finished(hooks, monitor, 0.0, 0.15)


@pytest.mark.parametrize("users", [True, False])
def test_a_device_that_fails_hides_no_exception_and_nothing_measured(
    machine: Machine, users: bool
) -> None:
    profile = broken(machine, Part(machine, "cuda:0", kernel_s=0.1), users=users)
    assert profile.energy_j == pytest.approx(15.0)
    assert (
        "calls on cuda:0 were timed only until it failed, and its later energy is outside of the "
        "modules: CUDA error: an illegal memory access was encountered" in profile.notes
    )
    assert_adds_up(profile)


def test_a_device_that_fails_at_the_start_leaves_no_hooks(machine: Machine) -> None:
    model = two_stages(machine)
    machine.cuda.error = RuntimeError("CUDA error: out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        machine.hooks(model).__enter__()
    assert hooked(model) == []


def test_a_copy_made_inside_is_not_measured(machine: Machine) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[0].home = model.home = "cuda:0"
    x = torch.ones(1, 2)
    hooks = machine.hooks(model)
    with hooks:
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(other(x), model(x))
    spans = hooks.spans(hooks.devices)
    assert len(spans) == 2 * 3
    assert hooked(model) == []
