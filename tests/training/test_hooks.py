"""Phases and layers on a simulated CUDA device."""

import pytest
import torch
from fakes.simulated_cuda import SimulatedCuda
from torch import nn

import pywatt
from pywatt.attribution.result import PathTimes
from pywatt.model.cuda_timeline import CudaTimeline
from pywatt.training.hooks import TrainingHooks


class _Given(torch.autograd.Function):
    """Gives the simulated device work forward and backward; the host does not wait."""

    @staticmethod
    def forward(ctx, x, cuda, forward_s, backward_s):
        ctx.cuda, ctx.backward_s = cuda, backward_s
        cuda.current_stream(0).give(forward_s)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.cuda.current_stream(0).give(ctx.backward_s)
        return gradient, None, None, None


class OnDevice(nn.Module):
    def __init__(self, cuda, forward_s, backward_s):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.work = (cuda, forward_s, backward_s)

    def forward(self, x):
        return _Given.apply(self.linear(x), *self.work)


def test_phases_and_layers_have_the_devices_time():
    clock = pywatt.ScriptedClock()
    cuda = SimulatedCuda(clock, latency_s=1e-5)
    model = nn.Sequential(OnDevice(cuda, 0.01, 0.02), OnDevice(cuda, 0.03, 0.05))
    hooks = TrainingHooks(
        *(model, clock),
        timeline=lambda device, clock: CudaTimeline(device, clock, cuda),
        find_device=lambda module: "cuda:0",
    )
    with hooks:
        for step in range(3):
            if step > 0:
                hooks.attach()
            with hooks.phases["forward"]:
                loss = model(torch.ones(2, 2)).sum()
            with hooks.phases["backward"]:
                loss.backward()
            if step > 0:
                hooks.detach()
        hooks.synchronize()
        hooks.recorder.close_all()
    spans = hooks.spans(["cuda:0"])
    times = PathTimes.of(spans)
    found = {
        (hooks.labels[name].kind, hooks.labels[name].of): float(times.time_s[path])
        for path, name in enumerate(spans.paths.name)
    }
    assert found["phase", "forward"] == pytest.approx(0.04, abs=1e-6)
    assert found["traced", "forward"] == pytest.approx(2 * 0.04, abs=1e-6)
    assert found["traced", "backward"] == pytest.approx(2 * 0.07, abs=1e-6)
    assert found["forward", "1"] == pytest.approx(2 * 0.03, abs=1e-6)
    assert found["backward", "1"] == pytest.approx(2 * 0.05, abs=1e-6)
    assert found["backward", "0"] == pytest.approx(2 * 0.02, abs=1e-6)
