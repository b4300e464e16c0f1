"""Parts of a training that follow each other, where attributing or beginning one is disturbed."""

import pytest
from torch import nn

import pywatt
from pywatt.sampling.monitor import Monitor
from pywatt.sensors.discovery import select
from pywatt.training.hooks import TrainingHooks
from pywatt.training.rotation import SEGMENT_S, SegmentRelay

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
    """There is no thread to be had for it."""

    def __enter__(self):
        raise pywatt.PywattError("the sampler's thread cannot be started")


def begun(clock, first, later, made):
    """A relay whose first part has a monitor of one kind, and all later ones of another."""
    sensors = select(pywatt.ScriptedSensor([POWER_W], clock=clock), devices=("cpu",)).sensors
    model = nn.Linear(2, 2)

    def new_monitor():
        made.append((later if made else first)(sensors, rate_hz=10.0, clock=clock))
        return made[-1]

    relay = SegmentRelay(
        new_monitor, lambda: TrainingHooks(model, clock), method="time", clock=clock
    )
    relay.begin()
    return relay


def ended(relay):
    relay.end()
    relay.fold_pending()
    return relay.ledger


def test_ctrl_c_while_a_part_is_attributed_loses_nothing():
    clock = pywatt.ScriptedClock()
    relay = begun(clock, Interrupted, Monitor, [])
    clock.advance(SEGMENT_S)

    def until_attributed():
        while not relay.turn():
            clock.advance(1.0)

    with pytest.raises(KeyboardInterrupt):
        until_attributed()
    clock.advance(1.0)
    ledger = ended(relay)
    assert ledger.segments == 2
    assert ledger.duration_s > SEGMENT_S
    assert ledger.total.energy_j == pytest.approx(POWER_W * ledger.duration_s, rel=1e-6)


def test_a_part_goes_on_where_the_sensors_of_the_next_cannot_be_read():
    clock, made = pywatt.ScriptedClock(), []
    relay = begun(clock, Monitor, Failing, made)
    for _ in range(int(5 * SEGMENT_S)):
        clock.advance(1.0)
        assert not relay.turn()
    ledger = ended(relay)
    assert len(made) == 1 + 5  # tried again after a minute each
    assert ledger.segments == 1
    assert ledger.total.energy_j == pytest.approx(POWER_W * 5 * SEGMENT_S, rel=1e-6)
    assert any("thread cannot be started" in note for note in ledger.notes)
