"""Energies that are known exactly, and what a run leaves as it was."""

import random

import numpy as np
import pytest
import torch
from fakes import models
from fakes.models import Countdown, Work, assert_adds_up, row, scripted
from torch import nn

import pywatt

X = torch.ones(4, 8)


def nested(clock):
    """1 s itself, then 2 s, then 0.5 s around 0.25 s."""
    last = Work(clock, 0.5, inner=Work(clock, 0.25))
    return Work(clock, 1.0, first=Work(clock, 2.0), last=last)


@pytest.mark.parametrize("method", ["auto", "time", "overlap"])
def test_constant_power_gives_each_module_its_time(method):
    clock = pywatt.ScriptedClock()
    profile = pywatt.profile(nested(clock), [X, X], method=method, **scripted(40.0, clock))
    assert profile.method == ("time" if method == "time" else "overlap")
    exactly = {
        # calls, time, self time, energy, self energy
        "": (2, 7.5, 2.0, 300.0, 80.0),
        "first": (2, 4.0, 4.0, 160.0, 160.0),
        "last": (2, 1.5, 1.0, 60.0, 40.0),
        "last.inner": (2, 0.5, 0.5, 20.0, 20.0),
    }
    for name, figures in exactly.items():
        e = row(profile, name)
        seen = (e.calls, e.time_s, e.self_time_s, e.energy_j, e.self_energy_j)
        assert seen == pytest.approx(figures, rel=1e-9)
        assert e.power_w == pytest.approx(40.0, rel=1e-9)
    assert profile.duration_s == pytest.approx(7.5, rel=1e-9)
    assert profile.energy_j == pytest.approx(300.0, rel=1e-9)
    assert profile.outside_j == pytest.approx(0.0, abs=1e-7)
    assert (profile.batches, profile.samples) == (2, 8)
    assert profile.energy_per_sample_j == pytest.approx(37.5, rel=1e-9)
    assert_adds_up(profile)


@pytest.mark.parametrize("kind", ["counter", "power"])
def test_steps_of_power_reach_the_module_that_ran(kind):
    clock = pywatt.ScriptedClock()
    model = nn.Sequential(Work(clock, 1.0), Work(clock, 2.0), Work(clock, 1.0))
    sensor = pywatt.ScriptedSensor([10.0, 100.0, 30.0], [0.0, 1.0, 3.0], kind=kind, clock=clock)
    options = {"sensors": sensor, "clock": clock, "warmup": 0, "repeat": False}
    profile = pywatt.profile(model, [X], method="overlap", **options)
    # Power is taken to be linear between readings: half a step too much or too little in the 1 ms
    # before it. A counter has no such error.
    errors_j = (0.045, -0.035, 0.0) if kind == "power" else (0.0, 0.0, 0.0)
    expected_j = [true + error for true, error in zip((10.0, 200.0, 30.0), errors_j, strict=True)]
    seen_j = [row(profile, name).energy_j for name in "012"]
    assert seen_j == pytest.approx(expected_j, rel=1e-9)
    assert profile.energy_j == pytest.approx(sum(expected_j), rel=1e-9)
    assert_adds_up(profile)


def test_time_shares_see_no_steps():
    clock = pywatt.ScriptedClock()
    model = nn.Sequential(Work(clock, 1.0), Work(clock, 3.0))
    sensor = pywatt.ScriptedSensor([10.0, 100.0], [0.0, 1.0], kind="counter", clock=clock)
    profile = pywatt.profile(model, [X], warmup=0, sensors=sensor, clock=clock, method="time")
    assert row(profile, "0").energy_j == pytest.approx(77.5, rel=1e-9)
    assert row(profile, "1").energy_j == pytest.approx(232.5, rel=1e-9)
    assert "time" in profile.method_reason
    assert_adds_up(profile)


@pytest.mark.parametrize("method", ["time", "overlap"])
def test_recursion_counts_its_energy_once(method):
    clock = pywatt.ScriptedClock()
    profile = pywatt.profile(
        Countdown(clock), [torch.tensor(9)], method=method, **scripted(10.0, clock)
    )
    only = row(profile, "")
    assert only.calls == 10
    assert (only.time_s, only.self_time_s) == pytest.approx((1.0, 1.0), rel=1e-9)
    assert (only.energy_j, only.self_energy_j) == pytest.approx((10.0, 10.0), rel=1e-9)
    assert_adds_up(profile)


def test_a_module_called_under_several_parents_adds_up():
    clock = pywatt.ScriptedClock()
    shared = Work(clock, 0.5)
    model = Work(
        clock, 1.0, left=Work(clock, 2.0, part=shared), right=Work(clock, 3.0, part=shared)
    )
    profile = pywatt.profile(model, [X], **scripted(10.0, clock))
    assert [(e.name, e.calls) for e in profile.layers] == [
        ("", 1),
        ("left", 1),
        ("left.part", 2),
        ("right", 1),
    ]
    energies_j = [e.energy_j for e in profile.layers]
    assert energies_j == pytest.approx([70.0, 25.0, 10.0, 35.0], rel=1e-9)
    assert_adds_up(profile)


def test_what_happens_between_calls_is_outside():
    clock = pywatt.ScriptedClock()

    def loader():
        for _ in range(3):
            clock.advance(1.0)
            yield X

    profile = pywatt.profile(Work(clock, 2.0), loader(), **scripted(10.0, clock))
    # The first batch was taken for the warm-up, before the measurement.
    assert profile.duration_s == pytest.approx(8.0, rel=1e-9)
    assert profile.outside_j == pytest.approx(20.0, rel=1e-9)
    assert_adds_up(profile)


def test_all_sensors_given_are_added_and_named(tmp_path):
    clock = pywatt.ScriptedClock()
    sensors = [
        pywatt.ScriptedSensor([10.0], name="a", clock=clock),
        pywatt.ScriptedSensor([5.0], name="b", clock=clock, estimated=True, domain="dram"),
        pywatt.ScriptedSensor([3.0], name="c", clock=clock, domain="core", contained_in="a"),
    ]
    profile = pywatt.profile(nested(clock), [X], sensors=sensors, clock=clock)
    assert profile.energy_j == pytest.approx(15.0 * 3.75, rel=1e-9)
    by_sensor = {"a": 37.5, "b": 18.75, "c": 11.25}
    assert dict(profile.energy_by_sensor) == pytest.approx(by_sensor, rel=1e-9)
    assert set(profile.traces) == {"a", "b", "c"}
    assert [sensor.name for sensor in profile.sensors] == ["a", "b"]
    assert profile.estimated
    assert_adds_up(profile)
    profile.save(tmp_path / "run.json")
    loaded = pywatt.load(tmp_path / "run.json")
    assert loaded == profile
    assert np.array_equal(loaded.traces["a"].energy_j, profile.traces["a"].energy_j)


def test_a_measured_run_is_not_called_estimated():
    clock = pywatt.ScriptedClock()
    assert not pywatt.profile(nested(clock), [X], **scripted(10.0, clock)).estimated


def test_random_states_buffers_and_modes_are_as_before():
    model = models.convnet()
    model[0].eval()
    batches = [torch.randn(models.IMAGES) for _ in range(2)]
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    storages = [buffer.data_ptr() for buffer in model.buffers()]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = (torch.rand(2), random.random(), np.random.random())  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)

    def forward(model, batch):
        random.random()
        np.random.random()  # noqa: NPY002
        output = model(batch)
        model.eval()
        model.train()
        return output

    pywatt.profile(model, batches, forward=forward, **scripted())
    assert torch.equal(torch.rand(2), expected[0])
    assert (random.random(), np.random.random()) == expected[1:]  # noqa: NPY002
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert [buffer.data_ptr() for buffer in model.buffers()] == storages
    assert [module.training for module in model] == [False, True, True, True, True]


@pytest.mark.parametrize(
    "buffer",
    [
        torch.eye(3).to_sparse(),
        torch.full((1,), float("nan")).expand(4),
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
    ],
    ids=["sparse", "expanded", "jagged"],
)
def test_buffers_that_cannot_be_compared_or_written_to(buffer):
    model = nn.Identity()
    model.register_buffer("odd", buffer)
    assert pywatt.profile(model, [X], **scripted()).batches == 1
    assert model.odd is buffer


def test_a_sparse_buffer_that_the_model_writes_to_is_put_back():
    class Doubles(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weights", torch.eye(3).to_sparse())

        def forward(self, x):
            self.weights.mul_(2.0)
            return x

    model = Doubles()
    pywatt.profile(model, [X], **scripted())
    assert torch.equal(model.weights.to_dense(), torch.eye(3))


def test_a_pending_backward_pass_still_works():
    model = nn.BatchNorm1d(8).eval()
    loss = model(X).sum()
    pywatt.profile(model, [X], **scripted())
    loss.backward()
    assert model.weight.grad is not None


def test_a_model_made_in_inference_mode():
    with torch.inference_mode():
        model = nn.BatchNorm1d(8)

    def forward(model, batch):
        with torch.inference_mode():
            return model(batch)

    profile = pywatt.profile(model, [X * 3.0], forward=forward, **scripted())
    assert row(profile, "").calls == 1
    assert torch.equal(model.running_mean, torch.zeros(8))
    assert torch.equal(model.num_batches_tracked, torch.tensor(0))


def test_accuracy_is_measured_outside_of_every_span():
    clock = pywatt.ScriptedClock()

    def accuracy(output, batch):
        clock.advance(3.0)
        return 1.0

    profile = pywatt.profile(Work(clock, 1.0), [X], accuracy=accuracy, **scripted(10.0, clock))
    assert row(profile, "").energy_j == pytest.approx(10.0, rel=1e-9)
    assert profile.outside_j == pytest.approx(30.0, rel=1e-9)


def test_the_users_own_loop():
    clock = pywatt.ScriptedClock()
    model = Work(clock, 1.0)
    with pywatt.Profiler(model, **scripted(10.0, clock)) as p:
        for _ in range(2):
            model(X)
            p.step((X, torch.tensor([0, 1, 2, 0])), torch.eye(4))
        p.step(samples=2)
    profile = p.result()
    assert p.result() is profile
    assert (profile.batches, profile.samples, profile.accuracy) == (3, 10, 0.75)
    assert profile.energy_j == pytest.approx(20.0, rel=1e-9)


def test_a_slow_sensor_resolves_few_layers_by_regression():
    """Two layers shorter than the sensor's period of 100 ms, at starts that change."""
    clock = pywatt.ScriptedClock()
    gaps_s = np.random.default_rng(0).uniform(0.0, 0.05, 250)
    # A profiler waits for the sensor to have shown the idle before.
    edge_s = 0.25 + np.cumsum(np.column_stack((gaps_s, np.full(250, 0.02), np.full(250, 0.03))))
    sensor = pywatt.ScriptedSensor(
        [*np.tile([60.0, 300.0, 120.0], 250).tolist(), 60.0],
        [0.0, *edge_s.tolist()],
        period_s=0.1,
        window_s=0.025,
        clock=clock,
    )

    def batches():
        for gap_s in gaps_s:
            clock.advance(gap_s)
            yield X

    model = Work(clock, 0.0, a=Work(clock, 0.02), b=Work(clock, 0.03))
    result = pywatt.profile(model, batches(), sensors=sensor, clock=clock, warmup=0)
    layers = {layer.name: layer for layer in result.layers}
    assert result.method == "regression"
    assert layers["a"].energy_j == pytest.approx(250 * 0.02 * 300.0, rel=0.03)
    assert layers["b"].energy_j == pytest.approx(250 * 0.03 * 120.0, rel=0.03)
    assert_adds_up(result)


def test_regression_that_resolves_nothing_is_a_share_by_time_with_a_note():
    clock = pywatt.ScriptedClock()
    sensor = pywatt.ScriptedSensor([10.0], clock=clock)
    result = pywatt.profile(nested(clock), [X], sensors=sensor, clock=clock, method="regression")
    assert result.method == "time"
    assert any("regression failed; energy is split by run time" in note for note in result.notes)
    assert_adds_up(result)
