"""Ctrl-C at any line of a training: what was measured is kept, and the record says the same."""

import signal
import sys

import pytest
from timed_training import STEP_S, STEP_W, Training, adds_up

import pywatt

STEP_J = sum(STEP_S[name] * STEP_W[name] for name in STEP_S)
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
    assert pywatt.TrainingProfile.load(path).energy_j == pytest.approx(profile.energy_j)
    assert not any(module._forward_hooks for module in training.model.modules())
