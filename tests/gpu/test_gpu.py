"""What only a real GPU can show. The rest of CUDA support is tested on a simulation, everywhere."""

from __future__ import annotations

import time
from typing import Any

import pynvml
import pytest
import torch
from torch import nn

import pywatt
from pywatt import _core
from pywatt.model.hooks import ModuleHooks
from pywatt.sensors import nvml

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU here"),
]

DEVICE = "cuda:0"


def mlp(width: int = 2048) -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
    return nn.Sequential(*layers).to(DEVICE).eval()


def resnet() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 1, 1], num_labels=10
    )
    model: nn.Module = transformers.ResNetForImageClassification(config)
    return model.to(DEVICE).eval()


def layers(profile: pywatt.Profile) -> dict[str, pywatt.LayerEnergy]:
    return {layer.name: layer for layer in profile.layers}


def assert_adds_up(profile: pywatt.Profile) -> None:
    assert profile.energy_j is not None, profile.notes
    assert profile.outside_j is not None
    own = [layer.self_energy_j for layer in profile.layers if layer.calls]
    assert None not in own
    assert sum(own) + profile.outside_j == pytest.approx(profile.energy_j, rel=1e-3)
    assert min(own) >= -1e-3 * profile.energy_j


def assert_untouched(model: nn.Module) -> None:
    assert [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks] == []


@torch.no_grad()
def test_an_mlp_has_energies_that_add_up_and_unchanged_outputs() -> None:
    model, x = mlp(), torch.randn(512, 2048, device=DEVICE)
    expected = model(x)
    outputs: list[torch.Tensor] = []

    def forward(module: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        outputs.append(module(batch))
        return outputs[-1]

    profile = pywatt.profile(model, [x] * 100, forward=forward)
    assert len(outputs) == 101
    assert all(torch.equal(output, expected) for output in outputs)
    assert [layer.calls for layer in profile.layers] == [100] * 4
    assert {layer.device for layer in profile.layers} == {DEVICE}
    assert profile.environment[DEVICE] == torch.cuda.get_device_name(0)
    assert not profile.estimated
    assert_adds_up(profile)
    assert_untouched(model)


@torch.no_grad()
def test_a_resnet_has_energies_that_add_up_and_unchanged_outputs() -> None:
    model, x = resnet(), torch.randn(8, 3, 64, 64, device=DEVICE)
    expected = model(pixel_values=x).logits
    profile = pywatt.profile(model, [{"pixel_values": x}] * 50, warmup=3)
    assert torch.equal(model(pixel_values=x).logits, expected)
    ran = [layer for layer in profile.layers if layer.calls]
    assert len(ran) > 20
    assert all(layer.time_s > 0.0 for layer in ran)
    assert_adds_up(profile)
    assert_untouched(model)


@torch.no_grad()
def test_times_agree_with_events_around_the_whole_pass() -> None:
    model, x = mlp(), torch.randn(4096, 2048, device=DEVICE)
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(200)]
    model(x)
    with pywatt.Profiler(model) as profiler:
        for first, last in pairs:
            first.record()
            model(x)
            last.record()
            profiler.step(x)
    profile = profiler.result()
    events_s = sum(first.elapsed_time(last) for first, last in pairs) * 1e-3
    found = layers(profile)
    assert 0.95 * events_s <= found[""].time_s <= 1.001 * events_s
    parts_s = sum(found[name].time_s for name in "012")
    assert 0.9 * found[""].time_s <= parts_s <= 1.001 * found[""].time_s
    assert found[""].time_s <= profile.duration_s


@torch.no_grad()
def test_calls_lie_between_their_launch_and_the_end_of_the_device() -> None:
    model, x = mlp(), torch.randn(4096, 2048, device=DEVICE)
    model(x)
    clock = _core.steady_clock()
    hooks = ModuleHooks(model, clock)
    seen: list[tuple[float, float]] = []
    with hooks:
        for _ in range(20):
            before_s = clock.now_s()
            model(x)
            torch.cuda.synchronize(DEVICE)
            seen.append((before_s, clock.now_s()))
            time.sleep(0.1)
    (block,) = hooks.spans(hooks.devices).blocks()
    roots = block.path == 0
    assert roots.sum() == 20
    for start_s, end_s, (before_s, after_s) in zip(
        block.start_s[roots], block.end_s[roots], seen, strict=True
    ):
        assert before_s - 50e-6 <= start_s < end_s <= after_s + 50e-6


@torch.no_grad()
def test_hooks_do_not_wait_for_the_device() -> None:
    model, x = mlp(), torch.randn(8, 2048, device=DEVICE)
    model(x)
    done = torch.cuda.Event()
    with pywatt.Profiler(model):
        torch.cuda._sleep(1_000_000_000)
        for _ in range(20):
            model(x)
        done.record()
        assert not done.query()


@torch.no_grad()
def test_energy_agrees_with_the_counter_of_the_card() -> None:
    identity, note = nvml.device_of_torch(0)
    if not identity.startswith("GPU-") or note:
        pytest.skip(f"the energy of {identity} is not that of one whole card")
    pynvml.nvmlInit()
    try:
        card = pynvml.nvmlDeviceGetHandleByUUID(identity)
        try:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(card)
        except pynvml.NVMLError_NotSupported:
            pytest.skip("this card has no energy counter")
        model, x = mlp(4096), torch.randn(4096, 4096, device=DEVICE)

        def work() -> None:
            until_s = time.monotonic() + 3.0
            while time.monotonic() < until_s:
                model(x)
                torch.cuda.synchronize(DEVICE)

        work()
        before_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(card)
        with pywatt.Profiler(model) as profiler:
            work()
        counted_j = (pynvml.nvmlDeviceGetTotalEnergyConsumption(card) - before_mj) * 1e-3
    finally:
        pynvml.nvmlShutdown()
    profile = profiler.result()
    # The counter may move every 100 ms only, at both ends of 3 s.
    assert profile.energy_j == pytest.approx(counted_j, rel=0.1)
    assert 10.0 < profile.power_w < 2000.0
    assert layers(profile)[""].energy_j > 0.5 * profile.energy_j
    assert_adds_up(profile)


@torch.no_grad()
def test_generate() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_embd=64, n_layer=2, n_head=2, vocab_size=128)
    model = transformers.GPT2LMHeadModel(config).to(DEVICE).eval()
    tokens = torch.zeros(1, 4, dtype=torch.long, device=DEVICE)

    def forward(module: Any, batch: torch.Tensor) -> Any:
        return module.generate(batch, max_new_tokens=8, min_new_tokens=8, do_sample=False)

    expected = forward(model, tokens)
    profile = pywatt.profile(model, [tokens] * 3, forward=forward)
    assert torch.equal(forward(model, tokens), expected)
    assert layers(profile)["transformer.h.1"].calls == 3 * 8
    assert_adds_up(profile)


@torch.no_grad()
def test_a_compiled_model_is_profiled_as_a_whole() -> None:
    pytest.importorskip("triton")
    model, x = torch.compile(mlp()), torch.randn(64, 2048, device=DEVICE)
    model(x)
    profile = pywatt.profile(model, [x] * 10)
    (layer,) = profile.layers
    assert (layer.name, layer.calls) == ("", 10)
    assert layer.time_s > 0.0
    assert "profiled as a whole: the model (compiled by torch.compile)" in profile.notes
    assert_adds_up(profile)


def test_a_graphed_model_is_profiled_as_a_whole() -> None:
    model, x = mlp().requires_grad_(False), torch.randn(64, 2048, device=DEVICE)
    expected = model(x)
    graphed = torch.cuda.make_graphed_callables(model, (x,))
    profile = pywatt.profile(graphed, [x] * 10)
    (layer,) = profile.layers
    assert (layer.name, layer.calls) == ("", 10)
    assert layer.time_s > 0.0
    assert "profiled as a whole: the model (replayed as a CUDA graph)" in profile.notes
    torch.testing.assert_close(graphed(x), expected)
    assert_adds_up(profile)


@torch.no_grad()
def test_a_graph_that_is_captured_inside_replays_rightly() -> None:
    model, x = mlp(), torch.randn(64, 2048, device=DEVICE)
    expected = model(x)
    graph = torch.cuda.CUDAGraph()
    with pywatt.Profiler(model) as profiler:
        with torch.cuda.graph(graph):
            output = model(x)
        output.zero_()
        graph.replay()
        model(x)
    torch.testing.assert_close(output, expected)
    profile = profiler.result()
    assert [layer.calls for layer in profile.layers] == [1] * 4
    assert any(note.startswith("4 calls captured into a CUDA graph") for note in profile.notes)
    assert_adds_up(profile)


class Branches(nn.Module):
    """Two halves on two streams."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = mlp(), mlp()
        self.side = torch.cuda.Stream(DEVICE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        main = torch.cuda.current_stream(DEVICE)
        self.side.wait_stream(main)
        with torch.cuda.stream(self.side):
            right = self.right(x)
        left = self.left(x)
        main.wait_stream(self.side)
        right.record_stream(main)
        return left + right


@torch.no_grad()
def test_two_streams_share_and_say_so() -> None:
    model, x = Branches(), torch.randn(1024, 2048, device=DEVICE)
    expected = model(x)
    profile = pywatt.profile(model, [x] * 50)
    assert torch.equal(model(x), expected)
    assert any("ran on 2 streams" in note for note in profile.notes)
    assert_adds_up(profile)


@torch.no_grad()
def test_a_model_on_another_device_than_the_current_one() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    model = nn.Sequential(nn.Linear(64, 64).to("cuda:1"), nn.ReLU()).eval()
    x = torch.randn(8, 64, device="cuda:1")
    assert torch.cuda.current_device() == 0
    profile = pywatt.profile(model, [x] * 20)
    assert {layer.device for layer in profile.layers} == {"cuda:1"}
    assert all(layer.time_s > 0.0 for layer in profile.layers)
    assert_adds_up(profile)
