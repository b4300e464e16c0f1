"""A repeated call leaves arguments and state as they were."""

import copy
import dataclasses
import random
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pywatt import _core
from pywatt.model.modules import module_entries
from pywatt.repetition.timing import NotRepeatable
from pywatt.replay.calls import Intercept, Repeater


def repeated(module, *args, duration_s=0.02, **kwargs):
    """Repeat the one call of a module in a block; return the block and the call's own output."""
    (entry, *_) = module_entries(module)
    clock = _core.steady_clock()
    found = SimpleNamespace(block=None)

    def on_call(args, kwargs):
        if found.block is None:
            found.block = "begun"
            repeater = Repeater(module, intercept.run, args, kwargs, entry.device, clock)
            found.block = repeater.block(3, duration_s)

    with Intercept(entry, on_call) as intercept:
        output = module(*args, **kwargs)
    return found.block, output


def test_a_block_knows_its_calls_and_their_time():
    block, _ = repeated(nn.Identity(), torch.zeros(1))
    assert block.kind == 3
    assert block.calls > 10
    assert np.all(np.diff(block.mark_s) >= 0)
    assert np.all(np.diff(block.done) >= 0)
    assert 0.02 <= block.end_s - block.start_s < 1.0


def test_buffers_of_training_and_random_states_are_as_after_one_call():
    module = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5)).train()
    twin, x = copy.deepcopy(module), torch.randn(16, 8)
    torch.manual_seed(5)
    expected = twin(x)
    torch.manual_seed(5)
    _, output = repeated(module, x)
    assert torch.equal(output, expected)
    assert module[0].num_batches_tracked == 1
    assert torch.equal(module[0].running_mean, twin[0].running_mean)
    assert torch.equal(torch.rand(3), _rand_after(lambda: twin(x), 5))


def _rand_after(function, seed):
    torch.manual_seed(seed)
    function()
    return torch.rand(3)


def test_gradients_are_as_without_it():
    module, x = nn.Linear(8, 8), torch.randn(4, 8, requires_grad=True)
    expected = torch.autograd.grad(module(x).sum(), [*module.parameters(), x])
    _, output = repeated(module, x)
    assert module.weight.grad is None
    found = torch.autograd.grad(output.sum(), [*module.parameters(), x])
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


class InPlace(nn.Module):
    def forward(self, x):
        return x.add_(1.0)


def test_a_module_that_works_in_place_spares_its_input():
    x = torch.zeros(4)
    _, output = repeated(InPlace(), x)
    assert torch.equal(x, torch.ones(4))
    assert output is x


class Cached(nn.Module):
    """Appends to the cache in its arguments, as transformers' attention does, and counts calls."""

    def __init__(self):
        super().__init__()
        self.seen, self.lengths = 0, []

    def forward(self, x, cache):
        self.seen += 1
        cache.keys.append(x)
        self.lengths.append(len(cache.keys))
        cache.total.add_(x.sum())
        return torch.cat(cache.keys)


def test_caches_and_attributes_are_as_after_one_call():
    module, cache = Cached(), SimpleNamespace(keys=[torch.ones(1)], total=torch.zeros(()))
    block, output = repeated(module, torch.ones(1), cache)
    assert block.calls > 10
    assert torch.equal(output, torch.ones(2))
    assert len(cache.keys) == 2
    assert cache.total == 1.0
    assert (module.seen, module.lengths) == (1, [2])


@dataclasses.dataclass(slots=True)
class Slotted:
    keys: list


class Odd(nn.Module):
    """Keeps state in much that is not a list, dictionary or dense tensor."""

    def __init__(self):
        super().__init__()
        self.recent, self.seen, self.counts = deque([0], maxlen=2), {0}, np.zeros(2)
        self.own, self.pythons = torch.Generator().manual_seed(1), random.Random(1)
        self.numpys = np.random.default_rng(1)
        self.slotted, self.sparse = Slotted([]), torch.eye(2).to_sparse()

    def forward(self, x):
        self.recent.append(len(self.seen))
        self.seen.add(len(self.seen))
        self.counts += 1
        self.slotted.keys = [*self.slotted.keys, 1]
        return x + torch.rand(1, generator=self.own) + self.pythons.random() + self.numpys.random()

    def held(self):
        return (
            *(list(self.recent), self.seen, self.counts.tolist(), self.slotted.keys),
            *(self.own.get_state().tolist(), self.pythons.getstate()),
            *(self.numpys.bit_generator.state, self.sparse.to_dense().tolist()),
        )


def test_state_of_any_common_kind_is_as_after_one_call():
    once, repeatedly = Odd(), Odd()
    expected = once(torch.zeros(1))
    block, output = repeated(repeatedly, torch.zeros(1))
    assert block.calls > 10
    assert torch.equal(output, expected)
    assert repeatedly.held() == once.held()


class WritesItsWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        with torch.no_grad():
            self.weight.add_(1.0)
        return x


def test_a_module_that_writes_into_its_parameters_is_refused():
    with pytest.raises(NotRepeatable, match="parameters"):
        repeated(WritesItsWeight(), torch.zeros(1))


def test_an_intercept_leaves_nothing_behind():
    module = nn.Linear(2, 2)
    before = dict(module.__dict__)
    with Intercept(module_entries(module)[0], lambda args, kwargs: None):
        module(torch.zeros(1, 2))
    assert module.__dict__ == before
