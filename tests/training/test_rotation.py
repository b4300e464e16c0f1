"""Consecutive segments of a training, where attributing or starting one fails."""

import pytest
from torch import nn

import pywatt
from pywatt.sampling.monitor import Monitor
from pywatt.sensors.selection import select
from pywatt.training.hooks import TrainingHooks
from pywatt.training.rotation import SEGMENT_S, SegmentRotation

POWER_W = 50.0


class Interrupted(Monitor):
    """Ctrl-C comes once, while its readings are attributed."""

    came = False

    def read(self):
        if not self.came:
            self.came = True
            raise KeyboardInterrupt
        return super().read()


class Failing(Monitor):
    """Its thread cannot be started."""

    def __enter__(self):
        raise pywatt.PywattError("the sampler's thread cannot be started")


def begun(clock, first, later, made):
    """A rotation whose first segment has one kind of monitor, and all later ones another."""
    sensors = select(pywatt.ScriptedSensor([POWER_W], clock=clock), devices=("cpu",)).sensors
    model = nn.Linear(2, 2)

    def new_monitor():
        made.append((later if made else first)(sensors, rate_hz=10.0, clock=clock))
        return made[-1]

    rotation = SegmentRotation(
        new_monitor, lambda: TrainingHooks(model, clock), method="time", clock=clock
    )
    rotation.begin()
    return rotation


def ended(rotation):
    rotation.end()
    rotation.fold_pending()
    return rotation.ledger


def test_ctrl_c_while_a_segment_is_attributed_loses_nothing():
    clock = pywatt.ScriptedClock()
    rotation = begun(clock, Interrupted, Monitor, [])
    clock.advance(SEGMENT_S)

    def until_attributed():
        while not rotation.rotate():
            clock.advance(1.0)

    with pytest.raises(KeyboardInterrupt):
        until_attributed()
    clock.advance(1.0)
    ledger = ended(rotation)
    assert ledger.segments == 2
    assert ledger.duration_s > SEGMENT_S
    assert ledger.total.energy_j == pytest.approx(POWER_W * ledger.duration_s, rel=1e-6)


def test_a_segment_continues_if_the_sensors_of_the_next_cannot_be_read():
    clock, made = pywatt.ScriptedClock(), []
    rotation = begun(clock, Monitor, Failing, made)
    for _ in range(int(5 * SEGMENT_S)):
        clock.advance(1.0)
        assert not rotation.rotate()
    ledger = ended(rotation)
    assert len(made) == 1 + 5  # tried again after a minute each
    assert ledger.segments == 1
    assert ledger.total.energy_j == pytest.approx(POWER_W * 5 * SEGMENT_S, rel=1e-6)
    assert any("thread cannot be started" in note for note in ledger.notes)
