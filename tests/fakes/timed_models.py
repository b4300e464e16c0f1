"""Models of studies on a scripted clock: the time of a sample is given, so its energy is known."""

import contextlib
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

import pywatt

clock = pywatt.ScriptedClock()
POWER_W = 64.0


def sensor():
    """Return a sensor that always reads 64 W."""
    return pywatt.ScriptedSensor([POWER_W], clock=clock)


def as_text(table):
    """Return a table as JSON, without what differs from process to process."""
    models = [asdict(model) | {"peak_memory_bytes": None} for model in table.models]
    return json.dumps({"models": models, "notes": table.notes, "ranking": repr(table.ranking)})


class Timed(nn.Module):
    """Advances the clock by so many seconds per sample, then calls the model inside."""

    def __init__(self, inside, sample_s):
        super().__init__()
        self.inside, self.sample_s = inside, sample_s

    def forward(self, x):
        clock.advance(self.sample_s * len(x))
        return self.inside(x)


class Right(nn.Module):
    """Right for the first `share` of the four samples; input: the targets, which are 0 or 1."""

    def __init__(self, share):
        super().__init__()
        self.share = share
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        right = torch.arange(len(x)) < self.share * len(x)
        answers = torch.where(right, x.long(), 1 - x.long())
        return self.weight * nn.functional.one_hot(answers, 2).float()


def loaders():
    """Return two batches of four samples for training, three for the test."""
    batch = (torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0, 1, 0, 1]))
    return [batch] * 2, [batch] * 3


class Answer:
    """An output as those of transformers, which hold the logits."""

    def __init__(self, logits):
        self.logits = logits


def answering(share):
    return Answering(model(share))


class Answering(nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        return Answer(self.inside(x))


def test_only():
    return loaders()[1]


def model(share, sample_s=0.25):
    return Timed(Right(share), sample_s)


def fails(*_, **__):
    raise RuntimeError("no such weights")


def leaves(*_, **__):
    sys.exit(0)


class NoTextError(Exception):
    def __str__(self):
        raise RuntimeError("no text either")


def fails_without_text():
    raise NoTextError


def fails_with_half_a_character():
    raise OSError("no file caf\udce9")


def fails_in_forward():
    return Timed(nn.Linear(7, 2), 0.25)


def moves(share):
    """Change the directory, as a script may."""
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")
    return model(share)


def changes_torch():
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    return fails()


def no_module():
    return "a model"


def stuck_once(share, sample_s=0.25):
    """Never return the first time, in any process: the test kills that process."""
    with contextlib.suppress(FileExistsError):  # of two at the same moment one is the first
        Path("reached").open("x").close()
        time.sleep(3600)
    return model(share, sample_s)


def logged(name, share):
    """Write a line each time that it is built, and take a moment of real time."""
    with Path("built.log").open("a") as log:
        log.write(f"{name}\n")
    time.sleep(0.05)
    return model(share)


def interrupted_once(share):
    if not Path("interrupted").exists():
        Path("interrupted").touch()
        raise KeyboardInterrupt
    return model(share)


def own_loss(model, batch):
    """A call in place of the study's own, which returns the loss."""
    return ((model(batch[0]).argmax(1) - batch[1]) ** 2).float().mean() + model.inside.weight**2


def fit(model, loader):
    """Train in 2 s per batch."""
    for _ in loader:
        clock.advance(2.0)


def one_and_a_half(output, batch):
    return 1.5


def share_right(output, batch, most=1.0):
    return most * float((output.argmax(1) == batch[1]).float().mean())


class OverAll:
    """A metric that is not a mean over batches: their number over four."""

    def __init__(self, gives=None):
        self.gives, self.batches = gives, 0

    def update(self, output, batch):
        self.batches += 1

    def compute(self):
        return self.batches / 4 if self.gives is None else self.gives

    def std(self):
        return 0.03125


class NoCompute:
    def update(self, output, batch):
        pass


def random_weights():
    return Timed(nn.Sequential(nn.Unflatten(0, (-1, 1)), nn.Linear(1, 2)), 0.25)
