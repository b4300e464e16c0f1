"""Models that are hard to replay: their state, threads, lazy parameters, and training."""

import threading

import pytest
import torch
from fakes.models import scripted
from fakes.simulated_model import FollowedClock, Kernel
from torch import nn

import pywatt


class Reentered(nn.Module):
    """Stores in attributes whether it is running, and its number of calls."""

    def __init__(self):
        super().__init__()
        self.inner, self.busy, self.calls = nn.Linear(2, 2), False, 0

    def forward(self, x):
        assert not self.busy
        self.busy, self.calls = True, self.calls + 1
        x = self.inner(x)
        self.busy = False
        return x


def test_a_pass_that_ends_early_restores_the_models_attributes():
    model = Reentered()
    profile = pywatt.profile(
        *(model, [torch.zeros(1, 2)] * 20),
        warmup=0,
        method="replay",
        budget_s=0.5,
        repeat=False,
    )
    assert not [note for note in profile.notes if "ended early" in note]
    assert (model.busy, model.calls) == (False, 20)


class Threaded(nn.Module):
    """Runs its parts in threads of its own."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        found = {}

        def run(k):
            found[k] = self.parts[k](x)

        for k in range(len(self.parts)):
            thread = threading.Thread(target=run, args=(k,))
            thread.start()
            thread.join()
        return sum(found.values())


def test_modules_in_threads_of_the_model_end_no_thread_and_are_marked(gpus, capfd):
    """Their container only waits for them, so its energy counts theirs again."""
    clock = FollowedClock(gpus)
    model = Threaded(Kernel(gpus, 5e-4, 200.0, clock), Kernel(gpus, 3e-4, 400.0, clock)).eval()
    options = {"warmup": 0, "sensors": "nvml:0", "method": "replay", "clock": clock}
    batches = [torch.zeros(1)] * 400
    profile = pywatt.profile(model, batches, **options, budget_s=4.0, accuracy=None)
    assert not [note for note in profile.notes if "ended early" in note]
    assert "Traceback" not in capfd.readouterr().err
    assert any("are not reliable here" in note for note in profile.notes)
    assert [layer.resolved for layer in profile.layers if layer.calls] == [False] * 3


class LazyKernel(nn.modules.lazy.LazyModuleMixin, Kernel):
    """A kernel whose parameter has no shape before its first call."""

    cls_to_become = Kernel

    def __init__(self, *args):
        super().__init__(*args)
        self.weight = nn.UninitializedParameter()

    def initialize_parameters(self, x):
        if self.has_uninitialized_params():
            self.weight.materialize((1,))
            nn.init.ones_(self.weight)


def test_lazy_modules_are_replayed_once_a_pass_has_initialized_them(gpus):
    clock = FollowedClock(gpus)
    model = nn.Sequential(LazyKernel(gpus, 5e-4, 200.0, clock)).eval()
    options = {"warmup": 1, "sensors": "nvml:0", "method": "replay", "clock": clock}
    profile = pywatt.profile(model, [torch.zeros(1, 2)] * 400, **options, budget_s=3.0)
    assert profile.method == "replay", profile.notes


@pytest.mark.parametrize("method", ["auto", "replay"])
def test_a_run_that_trains_is_not_replayed(method):
    def trained(method):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
        optimizer = torch.optim.SGD(model.parameters(), 0.01)

        clock = pywatt.ScriptedClock()

        def step(model, batch):
            optimizer.zero_grad()
            model(batch).sum().backward()
            optimizer.step()
            clock.advance(1e-3)

        options = scripted(clock=clock, warmup=0, method=method, budget_s=0.5, repeat=False)
        found = pywatt.profile(model, [torch.ones(2, 4)] * 5, forward=step, **options)
        return found, [(p.detach().clone(), p.grad) for p in model.parameters()]

    (profile, left), (_, expected) = trained(method), trained("time")
    assert profile.method != "replay"
    assert any("the run changed the model's parameters" in note for note in profile.notes)
    assert not any("which would separate them" in note for note in profile.notes)
    for (weight, gradient), (expected_weight, expected_gradient) in zip(
        left, expected, strict=True
    ):
        assert torch.equal(weight, expected_weight)
        assert torch.equal(gradient, expected_gradient)


class ScalesItsWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        self.linear.weight.data.mul_(0.5)
        return self.linear(x)


def test_a_model_that_writes_past_autograd_into_its_weight_is_not_replayed():
    model = ScalesItsWeight()
    weight = model.linear.weight.detach().clone()
    pywatt.profile(model, [torch.zeros(1, 2)] * 3, warmup=0, method="replay", budget_s=0.5)
    assert torch.equal(model.linear.weight, weight / 8)
