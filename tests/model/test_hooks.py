"""Hooks record every call, change nothing, and are removed afterwards."""

import copy
import io
import pickle
import threading

import pytest
import torch
from fakes import models
from fakes.models import ZOO, Work, row, scripted, traces_left
from torch import nn
from torch._dynamo.utils import counters

import pywatt


def inputs(shape, count=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def outputs(model, batches, *, grad):
    """Return what a model returns, from the same random state every time."""
    torch.manual_seed(1)
    with torch.set_grad_enabled(grad):
        return [t.detach() for b in batches for t in models.tensors_of(model(b.clone()))]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("grad", [False, True], ids=["no grad", "grad"])
@pytest.mark.parametrize("name", ZOO)
def test_outputs_are_bitwise_the_same_and_nothing_is_left(name, grad, training):
    make, shape = ZOO[name]
    torch.manual_seed(0)
    model = make().train(training)
    batches = inputs(shape)
    fresh = {key: entry.clone() for key, entry in model.state_dict().items()}
    expected = outputs(model, batches, grad=grad)
    model.load_state_dict(fresh)
    before = traces_left(model)
    profiler = pywatt.Profiler(model, **scripted())
    with profiler:
        seen = outputs(model, batches, grad=grad)
    assert len(seen) == len(expected) > 0
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))
    assert traces_left(model) == before
    assert row(profiler.result(), "").calls == 3


def test_every_module_is_a_row_with_its_calls():
    profile = pywatt.profile(models.Twice(), inputs(models.ROWS), **scripted())
    calls = {entry.name: (entry.type, entry.depth, entry.calls) for entry in profile.layers}
    assert calls == {
        "": ("Twice", 0, 3),
        "first": ("Linear", 1, 9),
        "parts": ("ModuleList", 1, 0),
        "parts.0": ("ReLU", 2, 3),
        "parts.1": ("Dropout", 2, 3),
    }
    assert row(profile, "").parameters == row(profile, "first").parameters == 72
    assert row(profile, "parts").energy_j == 0.0  # of what ran inside it, in no time


def profiled_as_a_whole(model, batch, *, grad=False):
    """Return the names of rows that were called, and the notes on modules profiled as a whole."""
    with torch.set_grad_enabled(grad), pywatt.Profiler(model, **scripted()) as profiler:
        model(batch)
    profile = profiler.result()
    notes = [note for note in profile.notes if note.startswith("profiled as a whole")]
    return {entry.name for entry in profile.layers if entry.calls}, notes


@pytest.mark.parametrize("kind", [nn.TransformerEncoderLayer, models.OwnEncoderLayer])
def test_the_fused_encoder_layer_stays_fused(kind, monkeypatch):
    fused = []
    original = torch._transformer_encoder_layer_fwd
    monkeypatch.setattr(
        torch, "_transformer_encoder_layer_fwd", lambda *a: (fused.append(1), original(*a))[1]
    )
    model = nn.TransformerEncoder(models.encoder_layer(kind), 2, enable_nested_tensor=False).eval()
    batch = torch.ones(models.SEQUENCES)
    called, notes = profiled_as_a_whole(model, batch)
    assert called == {"", "layers.0", "layers.1"}
    assert notes == [
        "profiled as a whole: layers.0, layers.1 (its fused inference path calls no submodule)"
    ]
    assert len(fused) == 2
    called, notes = profiled_as_a_whole(model, batch, grad=True)
    assert {"layers.0.self_attn", "layers.1.linear1"} <= called
    assert notes == []
    assert len(fused) == 2


def test_an_encoder_layer_may_change_its_mode_while_it_is_profiled():
    model = models.encoder_layer().train()
    batch = torch.ones(models.SEQUENCES)
    expected = copy.deepcopy(model).eval()(batch)
    with torch.no_grad(), pywatt.Profiler(model, **scripted()) as profiler:
        model(batch)
        model.eval()
        fused = model(batch)
    with torch.no_grad():
        assert torch.equal(fused, model(batch))
    assert torch.allclose(fused, expected, atol=1e-5)
    assert row(profiler.result(), "").calls == 2
    assert row(profiler.result(), "linear1").calls == 1


@pytest.mark.parametrize(
    ("name", "noted"),
    [
        ("compiled", "the model (compiled by torch.compile)"),
        ("compiled inside", "head (compiled by torch.compile)"),
        ("compiled in place", "the model (compiled by Module.compile)"),
        ("script", "the model (a TorchScript module)"),
        ("script inside", "0 (a TorchScript module)"),
        ("graphed", "0 (replayed as a CUDA graph)"),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_opaque_modules_are_profiled_as_a_whole(name, noted):
    make, shape = ZOO[name]
    _, notes = profiled_as_a_whole(make().eval(), torch.ones(shape))
    assert notes == [f"profiled as a whole: {noted}"]


@pytest.mark.parametrize("called_before", [True, False])
@pytest.mark.parametrize("name", ["compiled", "compiled inside", "compiled in place"])
def test_compiled_modules_are_neither_compiled_again_nor_broken_up(name, called_before):
    def compiled():
        return dict(counters["stats"]), sum(counters["graph_break"].values())

    make, shape = ZOO[name]
    batch = torch.ones(shape)

    def run(profiled):
        torch._dynamo.reset()
        counters.clear()
        model = make().eval()
        with torch.no_grad():
            if called_before:
                model(batch)
            if profiled:
                with pywatt.Profiler(model, **scripted()) as profiler:
                    model(batch)
                    model(batch)
                assert row(profiler.result(), "").calls == 2
                at_work = any("torch.compile compiled during" in n for n in profiler.result().notes)
                assert at_work != called_before
            model(batch)
        return compiled()

    assert run(profiled=True) == run(profiled=False)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_the_inside_of_a_compiled_module_gets_no_hooks_under_another_name():
    model = models.Compilable()
    model.fast = torch.compile(model.body, backend="eager")
    model.forward = lambda x: model.fast(model.body(x))
    called, notes = profiled_as_a_whole(model, torch.ones(models.ROWS))
    assert called == {"", "fast"}
    assert notes == ["profiled as a whole: fast (compiled by torch.compile)"]


def test_threads_share_the_power():
    clock = pywatt.ScriptedClock()
    entered, done = threading.Barrier(3), threading.Barrier(3)

    class Held(nn.Module):
        def forward(self):
            entered.wait(10)
            done.wait(10)

    model = nn.ModuleList([Held(), Held()])
    with pywatt.Profiler(model, **scripted(30.0, clock)) as profiler:
        threads = [threading.Thread(target=module) for module in model]
        for thread in threads:
            thread.start()
        entered.wait(10)
        clock.advance(2.0)
        done.wait(10)
        for thread in threads:
            thread.join()
    profile = profiler.result()
    assert row(profile, "0").energy_j == pytest.approx(30.0, rel=1e-9)
    assert row(profile, "1").energy_j == pytest.approx(30.0, rel=1e-9)
    assert profile.energy_j == pytest.approx(60.0, rel=1e-9)
    assert any("several threads" in note for note in profile.notes)
    models.assert_adds_up(profile)


@pytest.mark.parametrize("name", ["shared", "encoder layer", "graphed"])
def test_copies_made_during_a_profile_work_and_record_nothing(name):
    make, shape = ZOO[name]
    model, batch = make().eval(), torch.ones(shape)
    with torch.no_grad():
        expected = model(batch)
        with pywatt.Profiler(model, **scripted()) as profiler:
            copies = [copy.deepcopy(model)]
            if name != "graphed":  # its forward is a local function, which nothing can pickle
                copies.append(pickle.loads(pickle.dumps(model)))
                stream = io.BytesIO()
                torch.save(model, stream)
                stream.seek(0)
                copies.append(torch.load(stream, weights_only=False))
            for copied in copies:
                assert torch.equal(copied(batch), expected)
        assert all(entry.calls == 0 for entry in profiler.result().layers)
        assert all(torch.equal(copied(batch), expected) for copied in copies)


def test_lazy_modules_have_type_and_parameters_once_they_have_run():
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
    profile = pywatt.profile(model, inputs(models.ROWS), **scripted())
    assert [(e.type, e.calls, e.parameters) for e in profile.layers] == [
        ("Sequential", 3, 44),
        ("Linear", 3, 36),
        ("BatchNorm1d", 3, 8),
    ]


def test_profilers_may_end_in_any_order():
    model = models.encoder_layer().eval()
    batch = torch.ones(models.SEQUENCES)
    before = traces_left(model)
    first, second = (pywatt.Profiler(model, **scripted()) for _ in range(2))
    with torch.no_grad():
        first.__enter__()
        second.__enter__()
        model(batch)
        first.__exit__(None, None, None)
        model(batch)
        second.__exit__(None, None, None)
    assert traces_left(model) == before
    assert row(first.result(), "").calls == 1
    assert row(second.result(), "").calls == 2


def test_hooks_of_the_user_run_inside_the_span_and_stay():
    clock = pywatt.ScriptedClock()
    model = Work(clock, 1.0)
    model.register_forward_pre_hook(lambda *_: clock.advance(0.25))
    model.register_forward_hook(lambda _, __, output: (clock.advance(0.5), output + 1)[1])
    before = traces_left(model)
    with pywatt.Profiler(model, **scripted(10.0, clock)) as profiler:
        assert model(torch.zeros(1)) == 1
    assert row(profiler.result(), "").energy_j == pytest.approx(17.5, rel=1e-9)
    assert traces_left(model) == before


def test_a_hook_that_cannot_be_added_removes_the_others():
    class Refusing(nn.Identity):
        def register_forward_hook(self, *_, **__):
            raise RuntimeError("no hooks here")

    model = nn.Sequential(nn.Linear(2, 2), Refusing())
    before = traces_left(model)
    profiler = pywatt.Profiler(model, **scripted())
    with pytest.raises(RuntimeError, match="no hooks here"):
        profiler.__enter__()
    assert traces_left(model) == before
