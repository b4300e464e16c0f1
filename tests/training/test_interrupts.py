"""Trainings that an exception, Ctrl-C or a lost sensor interrupts: what was measured is kept."""

import signal
import sys

import pytest
from fakes.timed_training import STEP_J, STEP_S, Raises, Training, adds_up

import pywatt

BATCHES, EPOCHS = 6, 2


class Pressed:
    """Counts lines that run in pywatt's training from the first step on; at one, Ctrl-C comes."""

    def __init__(self, training, at):
        self.training, self.at, self.lines = training, at, 0
        self.begun = False

    def step(self, p, model, batch):
        self.begun = True
        return self.training.step(p, model, batch)

    def __call__(self, frame, event, argument):
        return self._line if "pywatt/training/" in frame.f_code.co_filename else None

    def _line(self, frame, event, argument):
        self.lines += self.begun
        if self.begun and self.lines == self.at:
            signal.raise_signal(signal.SIGINT)
        return self._line


def run(path, at):
    """How many lines ran, the training, and its result, partial where Ctrl-C came."""
    training = Training(batches=BATCHES)
    pressed = Pressed(training, at)
    before = sys.gettrace()
    sys.settrace(pressed)
    try:
        profile = training.run(epochs=EPOCHS, step_fn=pressed.step, record=path)
    except KeyboardInterrupt as error:
        sys.settrace(before)
        assert at is not None
        profile = error.partial_profile
    finally:
        sys.settrace(before)
    return pressed.lines, training, profile


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole") / "train.json", None)[0]


# Near the end the result is made and the record written.
@pytest.mark.parametrize(
    "place", [0.002, 0.05, 0.13, 0.21, 0.34, 0.45, 0.57, 0.66, 0.75, 0.82, 0.9, 0.95, 0.98, 0.995]
)
def test_ctrl_c_at_any_line_keeps_what_was_measured(place, lines, tmp_path):
    path = tmp_path / "train.json"
    _, training, profile = run(path, max(1, round(place * lines)))
    assert adds_up(profile)
    steps = sum(epoch.batches for epoch in profile.epochs)
    assert (steps - 1) * STEP_J * 0.99 <= profile.energy_j <= (steps + 0.1) * STEP_J
    assert pywatt.load(path).energy_j == pytest.approx(profile.energy_j)
    assert not any(module._forward_hooks for module in training.model.modules())


@pytest.mark.parametrize("error", [ValueError("no more"), KeyboardInterrupt(), SystemExit(3)])
def test_what_was_measured_survives(error, tmp_path):
    training = Training(batches=4)
    path = tmp_path / "train.json"
    with pytest.raises(type(error)) as raised:
        training.run(epochs=3, step_fn=Raises(training, 6, error), record=path)
    assert raised.value is error
    partial = error.partial_profile
    assert [(e.complete, e.batches) for e in partial.epochs] == [(True, 4), (False, 3)]
    assert partial.epochs[0].energy_j == pytest.approx(4 * STEP_J, rel=0.005)
    lost_j = 0.1 * 50.0 + 0.1 * 100.0  # the data phase and half of forward
    assert partial.energy_j == pytest.approx(6 * STEP_J + lost_j, rel=0.005)
    assert adds_up(partial)
    assert partial.sessions[0].ended == type(error).__name__
    assert any("ended early" in note for note in partial.notes)
    assert pywatt.load(path) == partial
    assert not training.model[0]._forward_hooks


def test_a_real_ctrl_c_in_the_users_own_loop(tmp_path):
    training = Training(batches=4)
    path = tmp_path / "train.json"
    p = pywatt.TrainingProfiler(
        training.model,
        sensors=training.sensor,
        clock=training.clock,
        method="overlap",
        record=path,
    )

    def loop():
        with p:
            for number, batch in enumerate(p.epoch(training.loader)):
                training.step(p, training.model, batch)
                if number == 2:
                    signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        loop()
    written = pywatt.load(path)
    assert written == p.result()
    assert written.sessions[0].ended == "KeyboardInterrupt"
    assert written.environment["date"] == written.sessions[0].date
    assert written.energy_j == pytest.approx(3 * STEP_J, rel=0.005)


def test_a_sensor_that_is_lost_ends_nothing():
    training = Training(batches=4)
    sensor = pywatt.ScriptedSensor.from_readings([*[50.0] * 300, float("inf")])
    profile = training.run(sensors=sensor)
    assert profile.energy_j is None
    assert {phase.energy_j for phase in profile.phases} == {None}
    assert profile.layers[0].forward_energy_j is None
    assert profile.epochs[0].energy_j is None
    assert profile.epochs[0].complete
    assert profile.phase("forward").time_s == pytest.approx(4 * STEP_S["forward"])
    assert any("ended early" in note for note in profile.notes)
    assert "unavailable" in str(profile)
    with pytest.raises(pywatt.ArgumentError, match="nothing can be extrapolated"):
        profile.extrapolate(10)
