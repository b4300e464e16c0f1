"""Which calls do the same work."""

import numpy as np
import pytest
import torch
from torch import nn

from pywatt.replay.same_work import call_key


class Placed(nn.Module):
    def __init__(self, layer_idx, window=4):
        super().__init__()
        self.layer_idx, self.window = layer_idx, window


def same(one, other, x=None, y=None, **kwargs):
    x = torch.zeros(4, 8) if x is None else x
    y = x if y is None else y
    return call_key(one, (x,), {}) == call_key(other, (y,), kwargs)


def test_equal_modules_do_the_same_work_whatever_their_values():
    assert same(nn.Linear(8, 8), nn.Linear(8, 8), torch.zeros(4, 8), torch.ones(4, 8))
    assert same(Placed(0), Placed(7))
    stacks = [nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(2)]
    assert same(*stacks)


@pytest.mark.parametrize(
    "other",
    [
        nn.Linear(8, 9),
        nn.Linear(8, 8, bias=False),
        nn.Linear(8, 8, dtype=torch.float64),
        nn.Linear(8, 8).requires_grad_(False).eval(),
        nn.Identity(),
    ],
)
def test_different_modules_do_different_work(other):
    assert not same(nn.Linear(8, 8), other)


def test_different_arguments_are_different_work():
    layer = nn.Linear(8, 8)
    x = torch.zeros(4, 8)
    assert not same(layer, layer, x, torch.zeros(5, 8))
    assert not same(layer, layer, x, x.double())
    assert not same(layer, layer, x, torch.zeros(8, 4).t())
    assert not same(layer, layer, x, x, scale=2.0)
    assert not same(Placed(0, window=4), Placed(0, window=8))


def test_deleted_objects_are_not_mistaken_for_later_ones():
    """The id of a freed object may go to the next one."""
    layer = nn.Identity()
    keys = [call_key(layer, (np.zeros(size),), {}) for size in (3, 4, 5)]
    assert len(set(keys)) == 3
