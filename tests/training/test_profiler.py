"""Phases, epochs and layers of known power and time."""

import gc

import pytest
import torch
from fakes.models import scripted
from fakes.timed_training import STEP_S, STEP_W, Loader, Timed, TimedSgd, Training, adds_up, layer
from torch import nn

import pywatt


def test_each_phase_has_its_energy():
    profile = Training(batches=8).run()
    assert adds_up(profile)
    for phase in profile.phases:
        assert phase.time_s == pytest.approx(8 * STEP_S[phase.name], abs=1e-6)
        expected_j = 8 * STEP_S[phase.name] * STEP_W[phase.name]
        # The sensor is read every millisecond, and where power steps a half of it is the other's.
        powers_w = [*STEP_W.values()]
        k = [*STEP_W].index(phase.name)
        steps_w = abs(powers_w[k] - powers_w[k - 1]) + abs(powers_w[k] - powers_w[(k + 1) % 5])
        assert phase.energy_j == pytest.approx(expected_j, abs=8 * 0.0005 * steps_w)
        assert phase.resolved
        assert phase.energy_j_std < 0.05 * phase.energy_j
    total_j = 8 * sum(STEP_S[name] * STEP_W[name] for name in STEP_S)
    assert profile.energy_j == pytest.approx(total_j, rel=1e-3)
    assert profile.duration_s == pytest.approx(8 * sum(STEP_S.values()), abs=1e-6)
    assert (profile.batches, profile.samples) == (8, 32)
    assert profile.method == "overlap"
    assert not profile.estimated


def test_each_layer_has_its_energy_forward_and_backward():
    profile = Training(batches=8, layers=2).run()
    for name in ("0", "1"):
        row = layer(profile, name)
        assert (row.forward_calls, row.backward_calls) == (8, 8)
        assert row.forward_time_s == pytest.approx(8 * 0.1, abs=1e-6)
        assert row.backward_time_s == pytest.approx(8 * 0.15, abs=1e-6)
        assert row.forward_energy_j == pytest.approx(8 * 0.1 * 100.0, rel=0.01)
        assert row.backward_energy_j == pytest.approx(8 * 0.15 * 200.0, rel=0.01)
        assert row.energy_j == pytest.approx(row.forward_energy_j + row.backward_energy_j)
    assert profile.traced_batches < profile.batches
    assert any("modules were traced in" in note for note in profile.notes)


def test_epochs_have_energies_losses_and_samples():
    training = Training(batches=4)
    profile = training.run(epochs=3)
    assert [epoch.index for epoch in profile.epochs] == [0, 1, 2]
    each_j = 4 * sum(STEP_S[name] * STEP_W[name] for name in STEP_S)
    for epoch in profile.epochs:
        assert epoch.complete
        assert epoch.energy_j == pytest.approx(each_j, rel=0.005)
        assert (epoch.batches, epoch.samples) == (4, 16)
    losses = [epoch.loss for epoch in profile.epochs]
    assert losses == sorted(losses, reverse=True)
    assert sum(e.energy_j for e in profile.epochs) == pytest.approx(profile.energy_j, rel=1e-9)


def test_what_is_done_between_epochs_is_in_none_of_them():
    training = Training(batches=4)
    profile = training.run(epochs=2, after_epoch=lambda number: training.clock.advance(1.0))
    other = profile.phase("other")
    assert other.time_s == pytest.approx(8 * STEP_S["other"] + 2.0, abs=1e-6)
    assert profile.duration_s - sum(e.duration_s for e in profile.epochs) == pytest.approx(2.0)


def test_a_constant_power_is_shared_exactly():
    clock = pywatt.ScriptedClock()
    model = nn.Sequential(Timed(clock, 0.02, 0.04), Timed(clock, 0.01, 0.03))
    optimizer = TimedSgd(model.parameters(), clock, 0.05)
    profile = pywatt.profile_training(
        *(model, Loader(clock, 5, 0.01)),
        loss_fn=nn.MSELoss(),
        optimizer=optimizer,
        method="time",
        **scripted(50.0, clock),
    )
    for name, seconds in {
        "data": 0.05,
        "forward": 0.15,
        "backward": 0.35,
        "optimizer": 0.25,
    }.items():
        assert profile.phase(name).energy_j == pytest.approx(50.0 * seconds, rel=1e-9)
    assert layer(profile, "0").backward_energy_j == pytest.approx(50.0 * 0.2, rel=1e-9)
    assert layer(profile, "0").resolved is False
    assert any("mostly their share of run time" in note for note in profile.notes)


def test_the_report_says_what_it_is(capsys):
    training = Training(batches=4)
    profile = training.run(epochs=2)
    text = str(profile)
    for part in ("MEASURED with scripted", "data", "optimizer", "Epoch", "backward"):
        assert part.lower() in text.lower()
    text = str(profile.extrapolate(10))
    assert "EXTRAPOLATED to 10 epochs from 2" in text
    assert "extrapolated, not measured" in text


def test_the_users_own_loop():
    training = Training(batches=4)
    with pywatt.TrainingProfiler(
        training.model,
        sensors=training.sensor,
        clock=training.clock,
        method="overlap",
        rate_hz=1000.0,
    ) as p:
        for _ in range(2):
            for batch in p.epoch(training.loader):
                p.log(loss=training.step(p, training.model, batch), samples=100)
    profile = p.result()
    assert [epoch.samples for epoch in profile.epochs] == [400, 400]
    assert profile.phase("backward").energy_j == pytest.approx(8 * 0.3 * 200.0, rel=0.01)
    assert adds_up(profile)
    with pytest.raises(pywatt.PywattError, match="used already"):
        p.__enter__()


def test_mistakes_raise():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    good = {"loss_fn": nn.MSELoss(), "optimizer": optimizer}
    batches = [(torch.ones(1, 2), torch.ones(1, 2))]
    for options, said in (
        ({"epochs": 0}, "epochs is 0"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"budget_s": 0}, "budget_s is 0"),
        ({"method": "guess"}, "method is 'guess'"),
        ({"optimizer": None}, "give an optimizer="),
        (
            {"scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)},
            "steps with a metric.* in after_epoch=",
        ),
    ):
        with pytest.raises(pywatt.ArgumentError, match=said):
            pywatt.profile_training(model, batches, **good | options)
    with pytest.raises(pywatt.ArgumentError, match="gave no batch"):
        pywatt.profile_training(model, [], **good)
    with pytest.raises(pywatt.ArgumentError, match="can be iterated once"):
        pywatt.profile_training(model, iter(batches), epochs=2, **good)
    with pytest.raises(pywatt.BatchError, match="no loss"):
        pywatt.profile_training(model, batches, optimizer=optimizer)
    with (
        pytest.raises(pywatt.ArgumentError, match="unknown phase"),
        pywatt.TrainingProfiler(model) as p,
        p.phase("backwards"),
    ):
        pass


def test_memory_does_not_grow_with_the_training():
    """Hours in scripted time: spans are kept of the last segment only."""
    clock = pywatt.ScriptedClock()
    model = Timed(clock, 1.0, 2.0)
    sensor = pywatt.ScriptedSensor([50.0], clock=clock)
    spans, live = [], []
    with pywatt.TrainingProfiler(
        model, sensors=sensor, clock=clock, rate_hz=1.0, method="time"
    ) as p:
        for batch in p.epoch(Loader(clock, 1500, 1.0)):
            with p.phase("forward"):
                loss = model(batch[0]).sum()
            with p.phase("backward"):
                loss.backward()
            spans.append(len(p._segments.hooks.recorder))
            live.append(p._segments._pending is not None)
    assert p._segments.ledger.segments > 60
    assert max(spans) < 250
    assert gc.collect() >= 0
    profile = p.result()
    assert profile.duration_s == pytest.approx(1500 * 4.0)
    assert profile.energy_j == pytest.approx(50.0 * 6000.0, rel=1e-6)
    assert profile.epochs[0].energy_j == pytest.approx(profile.energy_j, rel=1e-9)
    assert adds_up(profile)
