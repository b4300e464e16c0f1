"""Loops that a user may write other than those of the documentation."""

import threading

import pytest
import torch
from fakes.timed_training import STEP_S, STEP_W, Loader, Training, abs_near, adds_up
from torch import nn

import pywatt

BATCHES = 30


def profiler(training, **options):
    chosen = {"sensors": training.sensor, "clock": training.clock, "method": "time"}
    return pywatt.TrainingProfiler(training.model, **{"rate_hz": 100.0, **chosen, **options})


def times_s(profile):
    assert adds_up(profile)
    return {phase.name: pytest.approx(phase.time_s, abs=1e-6) for phase in profile.phases}


def forward(training, batch):
    return nn.functional.mse_loss(training.model(batch[0]), batch[1])


def test_phases_that_are_kept_are_recorded_in_every_segment_and_step():
    training = Training(batches=200)  # 150 s: three segments
    with profiler(training) as p:
        begin, back, step = p.phase("forward"), p.phase("backward"), p.phase("optimizer")
        for batch in p.epoch(training.loader):
            with begin:
                loss = forward(training, batch)
            with back:
                loss.backward()
            with step:
                training.optimizer.step()
            training.clock.advance(STEP_S["other"])
    profile = p.result()
    assert {name: 200 * each_s for name, each_s in STEP_S.items()} == times_s(profile)
    assert profile.layers[0].backward_calls == 200


def test_a_phase_within_another_is_the_outer_ones():
    training = Training(batches=8)
    with profiler(training) as p:
        for batch in p.epoch(training.loader):
            with p.phase("forward"), p.phase("optimizer"), p.phase("forward"):
                forward(training, batch)
            training.clock.advance(0.1)
    found = times_s(p.result())
    assert (8 * STEP_S["forward"], 0.0, 8 * 0.1) == (
        *(found[name] for name in ("forward", "optimizer", "other")),
    )


def test_a_phase_in_another_thread_at_once_is_the_first_ones():
    training = Training(batches=8)
    with profiler(training) as p:
        for batch in p.epoch(training.loader):
            entered, ended = threading.Event(), threading.Event()

            def other(entered=entered, ended=ended):
                with p.phase("forward"):
                    entered.set()
                    ended.wait()

            with p.phase("forward"):
                thread = threading.Thread(target=other)
                thread.start()
                entered.wait()
                forward(training, batch)
            training.clock.advance(0.1)
            ended.set()
            thread.join()
    assert times_s(p.result())["forward"] == 8 * STEP_S["forward"]


def test_a_thread_that_marks_phases_across_steps_changes_none():
    """Each of its phases begins inside of the loop's, and ends in a later step: traced, or not."""
    training = Training(batches=200)  # three segments
    turn = threading.Barrier(2)

    def other(p):
        for _ in range(200):
            turn.wait()
            with p.phase("forward"), p.phase("optimizer"):
                turn.wait()
                turn.wait()

    with profiler(training) as p:
        thread = threading.Thread(target=other, args=(p,))
        thread.start()
        for k, batch in enumerate(p.epoch(training.loader)):
            with p.phase("forward"):
                if k:
                    turn.wait()  # the other one leaves what it has entered a step ago
                turn.wait()
                turn.wait()  # and enters anew
                loss = forward(training, batch)
            with p.phase("backward"):
                loss.backward()
            with p.phase("optimizer"):
                training.optimizer.step()
            training.clock.advance(STEP_S["other"])
        turn.wait()
        thread.join()
    profile = p.result()
    assert {name: 200 * each_s for name, each_s in STEP_S.items()} == times_s(profile)
    assert adds_up(profile)


def test_layers_of_a_long_training_come_from_the_segments_that_resolve_them():
    """Modules are attributed in the first segments only, and scaled up to all."""
    training = Training(batches=320)  # four segments, and one that begins
    with profiler(training, method="auto", rate_hz=400.0) as p:
        for batch in p.epoch(training.loader):
            training.step(p, training.model, batch)
    profile = p.result()
    for name in ("forward", "backward"):
        whole_j = 320 * STEP_S[name] * STEP_W[name]
        assert profile.phase(name).energy_j == pytest.approx(whole_j, rel=1e-2)
        assert profile.phase(name).outside_j <= 5e-3 * whole_j
        for layer in profile.layers[1:]:
            if layer.type == "Timed":
                energy_j = getattr(layer, f"{name}_energy_j")
                assert energy_j == pytest.approx(whole_j / 2, rel=2e-2)
    assert adds_up(profile)


def test_a_backward_that_is_not_marked_is_other():
    training = Training(batches=BATCHES)
    with profiler(training) as p:
        for batch in p.epoch(training.loader):
            with p.phase("forward"):
                loss = forward(training, batch)
            loss.backward()
    profile = p.result()
    assert times_s(profile) == {
        "data": BATCHES * STEP_S["data"],
        "forward": BATCHES * STEP_S["forward"],
        "backward": 0.0,
        "optimizer": 0.0,
        "other": BATCHES * STEP_S["backward"],
    }
    assert profile.layers[0].backward_calls == 0
    assert any("ran outside of the phase 'backward'" in note for note in profile.notes)


def test_one_of_two_backwards_that_is_not_marked_is_other():
    training = Training(batches=BATCHES)
    with profiler(training) as p:
        for batch in p.epoch(training.loader):
            with p.phase("forward"):
                losses = forward(training, batch), forward(training, batch)
            with p.phase("backward"):
                losses[0].backward()
            losses[1].backward()
    profile = p.result()
    assert times_s(profile) == {
        "data": BATCHES * STEP_S["data"],
        "forward": 2 * BATCHES * STEP_S["forward"],
        "backward": BATCHES * STEP_S["backward"],
        "optimizer": 0.0,
        "other": BATCHES * STEP_S["backward"],
    }
    assert profile.layers[0].backward_calls == BATCHES


def test_a_loop_without_epochs_gets_a_note():
    training = Training(batches=8)
    with profiler(training) as p:
        for batch in training.loader:
            training.step(p, training.model, batch)
    profile = p.result()
    assert times_s(profile)["backward"] == 8 * STEP_S["backward"]
    assert any("iterate over p.epoch(loader)" in note for note in profile.notes)


def test_an_epoch_inside_of_another_takes_its_energy():
    training = Training(batches=8)
    with profiler(training) as p:
        for number, batch in enumerate(p.epoch(training.loader)):
            training.step(p, training.model, batch)
            if number == 3:
                for _ in p.epoch(Loader(training.clock, 2, 0.1)):
                    training.clock.advance(0.2)
    profile = p.result()
    outer, inner = profile.epochs
    assert outer.energy_j is None
    assert inner.energy_j is not None
    assert inner.duration_s == pytest.approx(2 * 0.3)
    assert any("an epoch began before the previous one had ended" in n for n in profile.notes)
    assert adds_up(profile)


def test_an_epoch_before_the_profiler_runs_is_none():
    training = Training(batches=8)
    p = profiler(training)
    with pytest.raises(pywatt.PywattError, match="inside its `with` statement"):
        next(p.epoch(training.loader))
    with p:
        for batch in p.epoch(training.loader):
            training.step(p, training.model, batch)
    assert [epoch.batches for epoch in p.result().epochs] == [8]


@pytest.mark.parametrize("max_batches", [0, -1, 2.0, "a"])
def test_an_epoch_of_no_number_of_batches(max_batches):
    training = Training(batches=2)
    with profiler(training) as p, pytest.raises(pywatt.ArgumentError, match="max_batches"):
        next(p.epoch(training.loader, max_batches=max_batches))


# Losses and samples that the user passes.


def profile_of(batches, **each):
    with pywatt.TrainingProfiler(nn.Linear(2, 2), method="time") as p:
        for number, _ in enumerate(p.epoch(batches)):
            p.log(**{name: of(number) for name, of in each.items()})
    return p.result()


def test_samples_of_batches_of_unknown_size():
    assert profile_of([object(), object()], samples=lambda _: 4).samples == 8
    assert profile_of([torch.zeros(3, 2), object()], samples=lambda number: 4 + number).samples == 9
    assert profile_of([torch.zeros(3, 2), object()], loss=lambda _: 1.0).samples is None


@pytest.mark.parametrize("samples", ["4", 1.5, -9])
def test_samples_that_are_no_number(samples):
    with pytest.raises(pywatt.ArgumentError, match="samples"):
        profile_of([torch.zeros(3, 2)], samples=lambda _: samples)


@pytest.mark.parametrize(
    "loss",
    [
        lambda _: {"loss": 1.0},
        lambda _: (1.0, 2.0),
        lambda _: "1.0",
        lambda number: torch.ones(3 - number),
        lambda _: 10**400,
        lambda _: torch.ones(3),
    ],
)
def test_a_loss_that_is_no_number_ends_nothing(loss):
    profile = profile_of([torch.zeros(3, 2)] * 2, loss=loss)
    assert profile.epochs[0].complete
    assert profile.epochs[0].loss is None
    assert any("the mean loss is unavailable" in note for note in profile.notes)


def test_a_loss_is_read_at_once():
    """What is done to it later, as where a graph's own buffer is written again, changes nothing."""
    loss = torch.ones((), requires_grad=True)
    with pywatt.TrainingProfiler(nn.Linear(2, 2), method="time") as p:
        for number, _ in enumerate(p.epoch([torch.zeros(3, 2)] * 3)):
            with torch.no_grad():
                loss.fill_(number)
            p.log(loss=loss)
    assert p.result().epochs[0].loss == 1.0


# Records of many epochs.


class SlowRecord:
    """Takes time to write."""

    earlier = ()

    def __init__(self, clock, each_s):
        self.clock, self.each_s, self.writes_s = clock, each_s, []

    def write(self, profile):
        self.clock.advance(self.each_s)
        self.writes_s.append(self.clock.now_s())


def test_a_record_that_takes_long_to_write_is_written_seldom():
    training = Training(batches=1)
    p = profiler(training)
    p._record = record = SlowRecord(training.clock, 0.5)
    with p:
        for _ in range(800):  # 600 s, and may be written every 10 s
            for batch in p.epoch(training.loader):
                training.step(p, training.model, batch)
    assert len(record.writes_s) == 4  # and at the end
    assert record.writes_s[1] - record.writes_s[0] >= 0.5 / 0.002
    assert p.result().duration_s == abs_near(800 * sum(STEP_S.values()) + 3 * 0.5)
