"""Modules that are never called themselves have what runs inside them, and 0 of their own."""

import numpy as np
import pytest
import torch
from fakes.models import scripted
from torch import nn

import pywatt
from pywatt.model.containers import paths_inside
from pywatt.model.modules import module_entries


class Listed(nn.Module):
    """Its blocks, one of them nested in lists, are called one after the other."""

    def __init__(self):
        super().__init__()
        self.outer = nn.ModuleList([nn.Linear(2, 2), nn.ModuleList([nn.Linear(2, 2)])])
        self.unused = nn.Linear(2, 2)
        self.clock = None

    def forward(self, x):
        for block in (self.outer[0], self.outer[1][0]):
            x = block(x)
            if self.clock is not None:
                self.clock.advance(0.5)
        return x


class Slow(nn.Linear):
    """Takes a quarter of a second of the clock."""

    clock = None

    def forward(self, x):
        self.clock.advance(0.25)
        return super().forward(x)


def listed(clock):
    model = Listed()
    for k, parent in ((0, model.outer), (0, model.outer[1])):
        parent[k].__class__ = Slow
        parent[k].clock = clock
    return model


def test_the_outermost_paths_inside_are_found():
    entries = module_entries(Listed())
    names = [entry.name for entry in entries]
    called = np.array([name in ("", "outer.0", "outer.1.0") for name in names])
    index = {name: k for k, name in enumerate(names)}
    # The model, in it outer.0, in this (as nobody would) outer.1.0; then outer.1.0 again.
    module = np.array([index[""], index["outer.0"], index["outer.1.0"], index["outer.1.0"], -1])
    parent = np.array([-1, 0, 1, 0, 0])
    found = paths_inside(entries, called, parent, module)
    assert found == {
        index["outer"]: [1, 3],
        index["outer.1"]: [2, 3],
        index["unused"]: [],
    }


def test_self_energies_add_up_on_every_model():
    clock = pywatt.ScriptedClock()
    model = listed(clock)
    found = pywatt.profile(
        model.eval(), [torch.zeros(1, 2)] * 4, warmup=0, repeat=False, **scripted(clock=clock)
    )
    rows = {layer.name: layer for layer in found.layers}
    for name in ("outer", "outer.1", "unused"):
        assert (rows[name].calls, rows[name].self_energy_j, rows[name].self_time_s) == (0, 0.0, 0.0)
        assert rows[name].resolved is None
    # 50 W for 4 passes of two calls of 0.25 s.
    assert rows["outer"].energy_j == pytest.approx(100.0)
    assert rows["outer"].time_s == pytest.approx(2.0)
    assert rows["outer.1"].energy_j == pytest.approx(50.0)
    assert rows["unused"].energy_j == 0.0
    total_j = sum(layer.self_energy_j for layer in found.layers) + found.outside_j
    assert total_j == pytest.approx(found.energy_j, rel=1e-12)


def test_a_container_of_what_no_sensor_covers_has_no_energy():
    clock = pywatt.ScriptedClock()
    found = pywatt.profile(
        listed(clock).eval(),
        [torch.zeros(1, 2)] * 4,
        warmup=0,
        repeat=False,
        clock=clock,
        sensors=pywatt.ScriptedSensor.from_readings([*[50.0] * 3, float("inf")]),  # lost
    )
    assert found.energy_j is None
    assert {layer.energy_j for layer in found.layers} == {None}
    assert {layer.self_energy_j for layer in found.layers} == {None}


@pytest.mark.parametrize(("batches", "unused_j"), [(1, 0.0), (8, None)])
def test_layers_of_a_training_add_up_too(batches, unused_j):
    clock = pywatt.ScriptedClock()
    model = listed(clock)
    found = pywatt.profile_training(
        model,
        [(torch.zeros(1, 2), torch.zeros(1, 2))] * batches,
        loss_fn=nn.MSELoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.0),
        method="time",
        **scripted(clock=clock),
    )
    rows = {layer.name: layer for layer in found.layers}
    assert rows["outer"].forward_self_energy_j == 0.0
    assert rows["outer"].forward_energy_j == pytest.approx(
        rows["outer.0"].forward_energy_j + rows["outer.1.0"].forward_energy_j
    )
    # Not all of 8 steps are traced: it may have been called in the others.
    assert rows["unused"].self_energy_j == unused_j
    forward = found.phase("forward")
    own_j = sum(layer.forward_self_energy_j or 0.0 for layer in found.layers)
    assert own_j + forward.outside_j == pytest.approx(forward.energy_j, rel=1e-9)
