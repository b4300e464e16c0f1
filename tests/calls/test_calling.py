"""How measure_call calls the function, and what it leaves as it was."""

import functools
import json
import subprocess
import sys
import threading
import time
import types

import pytest

import pywatt
from pywatt.spans import windows


def test_arguments_and_names_like_ours_reach_the_function():
    seen = []

    def call(*args, **kwargs):
        seen.append((args, kwargs))
        time.sleep(0.001)

    bound = functools.partial(call, budget_s=7)
    sensor = pywatt.ScriptedSensor([1.0])
    found = pywatt.measure_call(bound, 1, fn=2, sensors=sensor, budget_s=0.6)
    assert seen == [((1,), {"budget_s": 7, "fn": 2})] * len(seen)
    assert found.function.endswith("call")
    # The warm-up is not among the calls that count; the readings' own ends may hold some back.
    assert 0 < found.calls < len(seen)


def test_cuda_is_waited_for_at_the_ends_of_blocks_only(monkeypatch):
    """A device that works asynchronously: a call takes no time until it is synchronized."""
    clock = pywatt.ScriptedClock(10.0)
    given, waits = [0], [0]

    def synchronize(_):
        waits[0] += 1
        clock.advance(0.002 * given[0])
        given[0] = 0

    cuda = types.SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        memory_reserved=lambda index: index,
        synchronize=synchronize,
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))

    def call():
        given[0] += 1

    found = pywatt.measure_call(
        call, sensors=pywatt.ScriptedSensor([50.0]), clock=clock, budget_s=3.0
    )
    assert found.duration_s == pytest.approx(0.002)
    assert found.energy_j == pytest.approx(0.1)
    assert waits[0] < found.calls / 10


def test_torch_is_not_imported():
    code = (
        "import sys, pywatt; pywatt.measure_call(sum, range(1000), budget_s=0.5, "
        "sensors='cpu:estimated'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_the_estimate_live():
    before = threading.active_count()
    found = pywatt.measure_call(sum, range(50_000), sensors="cpu:estimated", budget_s=2.0)
    assert found.estimated
    assert 0 < found.energy_j < 10
    assert found.duration_s > 1e-4
    assert "estimated" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["format"] == "pywatt call"
    assert threading.active_count() == before
    assert not windows._active


def test_generate_of_a_language_model_live():
    torch = pytest.importorskip("torch", reason="measures a model of torch's")
    transformers = pytest.importorskip("transformers", reason="measures a model of it")
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=32, vocab_size=64, n_positions=64)
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.zeros(1, 4, dtype=torch.long)
    lengths = []

    def count(module, args, output):
        lengths.append(1)

    hook = model.register_forward_hook(count)
    found = pywatt.measure_call(
        model.generate,
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=8,
        min_new_tokens=8,
        pad_token_id=0,
        sensors="cpu:estimated",
        budget_s=2.0,
    )
    hook.remove()
    assert found.energy_j > 0
    assert len(lengths) >= 8 * found.calls
    assert all(parameter.grad is None for parameter in model.parameters())
