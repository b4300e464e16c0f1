"""Replay: its mathematics exactly, what it leaves as it was, and the whole against the truth."""

import copy
import dataclasses
import math
import random
import threading
import time
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from models import scripted
from simulated_model import FollowedClock, Kernel, Passes, Verdict, kernels
from torch import nn

import pywatt
from pywatt import _core
from pywatt.attribution.result import PathTimes, WindowEnergy
from pywatt.metering.sensor_model import SensorModel
from pywatt.model.modules import module_entries
from pywatt.model.reachable_state import copy_tensors
from pywatt.repetition.blocks import Block, Readings
from pywatt.repetition.drift import fit_levels
from pywatt.repetition.rounds import combine, next_round
from pywatt.repetition.solve import BlockEnergies, solve
from pywatt.repetition.timing import NotRepeatable
from pywatt.replay.calls import Intercept, Repeater
from pywatt.replay.closure import close
from pywatt.replay.path_estimate import NameEnergies
from pywatt.replay.same_work import work_of
from pywatt.spans.columns import CallPaths

IDLE_W = 60.0


# The mathematics of blocks.

CALL_J = {0: 0.5, 1: 0.02}
CALL_S = {0: 1e-3, 1: 1e-4}


def blocks_in_turn(count, length_s=0.25, gap_s=0.083):
    """Blocks of two works in turn, with idle between."""
    blocks = []
    for b in range(count):
        start_s, work = b * (length_s + gap_s), b % 2
        calls = length_s / CALL_S[work]
        blocks.append(Block(work, np.array([start_s, start_s + length_s]), np.array([0.0, calls])))
    return blocks


def true_energy_j(blocks, time_s):
    calls = [CALL_J[b.work] * np.interp(time_s, b.mark_s, b.done) for b in blocks]
    return IDLE_W * time_s + np.sum(calls, axis=0)


def readings_every(blocks, period_s, window_s, **changes):
    end_s = np.arange(window_s, blocks[-1].end_s, period_s)
    power_w = true_energy_j(blocks, end_s) - true_energy_j(blocks, end_s - window_s)
    fields = {
        "start_s": end_s - window_s,
        "end_s": end_s,
        "power_w": power_w / window_s,
        "start_std_s": np.full(len(end_s), 1e-4),
        "end_std_s": np.full(len(end_s), 1e-4),
        "counted": False,
        "inside_only": False,
        "noise_w": 1e-3,
    }
    return Readings(**fields | changes)


@pytest.mark.parametrize(
    ("period_s", "window_s", "length_s"),
    [(0.1, 0.025, 0.25), (0.1, 0.1, 0.25), (0.02, 0.01, 0.25), (0.1, 1.0, 0.6)],
)
def test_energy_of_a_call_from_the_readings_of_its_blocks(period_s, window_s, length_s):
    blocks = blocks_in_turn(12, length_s)
    found = solve([readings_every(blocks, period_s, window_s)], blocks)
    told = np.isfinite(found.call_j)
    assert np.count_nonzero(told) >= 10
    expected_j = np.array([CALL_J[b.work] for b in blocks])
    assert found.call_j[told] == pytest.approx(expected_j[told], rel=1e-3)
    assert found.idle_w == pytest.approx(IDLE_W, rel=1e-3)


def test_a_counter_and_a_power_are_used_together():
    blocks = blocks_in_turn(12)
    counter = readings_every(blocks, 0.1, 0.1, counted=True)
    power = readings_every(blocks, 0.1, 0.025)
    alone, both = solve([counter], blocks), solve([counter, power], blocks)
    assert np.all(both.call_j_std[1:-1] <= alone.call_j_std[1:-1])
    expected_j = np.array([CALL_J[b.work] for b in blocks])
    assert both.call_j[1:-1] == pytest.approx(expected_j[1:-1], rel=2e-3)


def test_of_an_unknown_window_only_what_lies_inside_a_block_counts():
    """The true window is 25 ms, its bound 200 ms: whatever crosses an edge must not count."""
    blocks = blocks_in_turn(12, length_s=0.33, gap_s=0.25)
    seen = readings_every(blocks, 0.1, 0.025)
    bound = readings_every(blocks, 0.1, 0.025, start_s=seen.end_s - 0.2, inside_only=True)
    found = solve([bound], blocks)
    told = np.isfinite(found.call_j)
    assert np.any(told)
    expected_j = np.array([CALL_J[b.work] for b in blocks])
    assert found.call_j[told] == pytest.approx(expected_j[told], rel=1e-3)


def test_a_block_that_no_reading_saw_is_not_told():
    blocks = blocks_in_turn(12)
    readings = readings_every(blocks, 0.1, 0.025)
    unseen = (readings.end_s < blocks[3].start_s) | (readings.start_s > blocks[3].end_s)
    columns = {
        name: getattr(readings, name)[unseen]
        for name in ("start_s", "end_s", "power_w", "start_std_s", "end_std_s")
    }
    found = solve([Readings(**columns, counted=False, inside_only=False, noise_w=1e-3)], blocks)
    assert math.isnan(found.call_j[3])
    assert not math.isnan(found.call_j[5])


def test_no_readings_tell_nothing():
    assert solve([], blocks_in_turn(2)) is None


# Rounds.


def test_the_spread_of_blocks_is_the_uncertainty():
    blocks = [Block(0, np.array([float(b), b + 1.0]), np.array([0.0, 10.0])) for b in range(4)]
    call_j = np.array([1.0, 1.1, 0.9, 1.0])
    energies = BlockEnergies(call_j, np.full(4, 1e-3), IDLE_W, 0.1, np.zeros(4))
    found = combine(blocks, energies, 2)
    assert found.call_j[0] == pytest.approx(1.0)
    # Alone, the pool is its own: the square root of 0.02 / 3, over 4 blocks. A search finds it.
    assert found.call_j_std[0] == pytest.approx(math.sqrt(0.02 / 3 / 4), rel=0.02)
    assert found.drift_std < 0.01
    assert found.blocks[0] == pytest.approx(4.0)
    assert math.isnan(found.call_j[1])


def test_a_drift_that_all_works_share_is_told_from_their_energies():
    """Power rises by 10 % over 30 s; each work ran in another part of it for the most part."""
    time_s = np.arange(0.0, 30.0, 0.3)
    work = np.array([0 if (t < 12.0) != (k % 5 == 0) else 1 for k, t in enumerate(time_s)])
    drift = 0.1 * (time_s / 30.0 - 0.5)
    noise = 0.001 * np.random.default_rng(0).standard_normal(len(time_s))
    found = fit_levels(time_s, work, 1.0 + drift + noise, np.zeros(len(time_s)), 1e-4)
    plain = [np.mean((1.0 + drift)[work == k]) for k in (0, 1)]
    assert plain[1] - plain[0] > 0.02
    apart = found.level[1] - found.level[0]
    assert abs(apart) <= 3.0 * np.hypot(*found.level_std) < 0.005
    assert found.spread == pytest.approx([0.001, 0.001], rel=0.4)
    assert found.drift_std == pytest.approx(np.std(drift), rel=0.1)


def test_without_a_drift_levels_are_means():
    time_s = np.arange(0.0, 12.0, 0.3)
    work = np.arange(len(time_s)) % 2
    ratio = 1.0 + 0.01 * np.random.default_rng(1).standard_normal(len(time_s))
    found = fit_levels(time_s, work, ratio, np.zeros(len(time_s)), 1e-4)
    means = [np.mean(ratio[work == k]) for k in (0, 1)]
    assert found.level == pytest.approx(means, abs=0.3 * 0.01 / math.sqrt(20))
    assert found.level_std == pytest.approx([0.01 / math.sqrt(20)] * 2, rel=0.3)


def test_a_block_that_mostly_waited_does_not_count():
    """One call in 50 ms, since the host was busy: what was drawn meanwhile is not its own."""
    blocks = [Block(0, np.array([k, k + 0.05]), np.array([0.0, 5000.0])) for k in range(8)]
    blocks[3] = Block(0, np.array([3, 3.05]), np.array([0.0, 1.0]))
    call_j = np.full(8, 1e-5) * (1.0 + 0.01 * np.array([1, -1, 1, 0, -1, 1, -1, 0]))
    call_j[3] = 0.05
    told = BlockEnergies(call_j, np.full(8, 1e-7), IDLE_W, 0.0, np.zeros(8))
    found = combine(blocks, told, 1)
    assert found.call_j[0] == pytest.approx(1e-5, rel=0.02)
    assert found.call_j_std[0] < 1e-6
    assert found.call_s[0] == pytest.approx(1e-5)


def test_blocks_go_where_they_help_most():
    weight, spread = np.array([10.0, 1.0, 1.0]), np.array([0.01, 0.01, 0.01])
    assert sorted(next_round(weight, spread, np.zeros(3), 4, 1)) == [0, 0, 1, 2]
    assert sorted(next_round(weight, spread, np.zeros(3), 6, 2)) == [0, 0, 1, 1, 2, 2]
    assert next_round(weight, spread, np.full(3, 2.0), 3, 2) == [0, 0, 0]
    # One that varies a lot needs more than one of the same energy that does not.
    noisy = next_round(np.ones(3), np.array([0.01, 0.05, 0.01]), np.full(3, 2.0), 2, 2)
    assert noisy == [1, 1]


# Closing the sum.

# A container (0) around two leaves (1, 2), called 10 times.
PATHS = CallPaths.of(
    np.array([0, 1, 2], np.int32), np.array([-1, 0, 0], np.int32), np.array([True, True, True])
)
TIMES = PathTimes(np.full(3, 10.0), np.array([5.0, 1.0, 3.0]), np.array([1.0, 1.0, 3.0]))


def closed(call_j, total_j, total_std=0.0, duration_s=5.0):
    names = NameEnergies(np.array(call_j), 0.01 * np.array(call_j), IDLE_W, 0.0)
    return close(names, PATHS, TIMES, duration_s, WindowEnergy(total_j, total_std))


def test_idle_goes_by_time_and_the_rest_by_replay():
    # Above idle 200 J, 100 J of the first leaf, 70 J of the second: 30 J are the container's own.
    energies, closure = closed([20.0, 10.0, 7.0], 200.0 + 5.0 * IDLE_W)
    assert energies.self_energy_j == pytest.approx([90.0, 160.0, 250.0])
    assert energies.energy_j == pytest.approx([500.0, 160.0, 250.0])
    assert energies.outside_j == pytest.approx(0.0, abs=1e-9)
    assert closure.factor == pytest.approx(1.0)


def test_the_sum_is_what_was_measured():
    energies, closure = closed([20.0, 10.0, 7.0], 550.0, total_std=5.5)
    assert np.sum(energies.self_energy_j) + energies.outside_j == pytest.approx(550.0)
    assert closure.factor == pytest.approx(1.1)
    assert closure.factor_std >= 5.5 / 500.0
    # Idle is known by itself: what is above it was 1.25 times as much.
    assert energies.self_energy_j == pytest.approx([97.5, 185.0, 267.5])
    # But it may have moved with the rest, and all would be 1.1 times as much.
    away_j = np.array([99.0 - 97.5, 176.0 - 185.0, 275.0 - 267.5])
    assert np.all(energies.self_energy_j_std >= np.abs(away_j) / math.sqrt(12.0))


def test_what_was_not_replayed_takes_the_remainder():
    energies, closure = closed([math.nan, 10.0, math.nan], 500.0)
    assert np.sum(energies.self_energy_j) + energies.outside_j == pytest.approx(500.0)
    # 60 W of idle and the 100 J of replay, give or take the little that the correction moves.
    assert energies.self_energy_j[1] == pytest.approx(160.0, rel=0.01)
    assert energies.self_energy_j_std[2] > 0.2 * energies.self_energy_j[2]
    assert energies.self_energy_j_std[1] < 0.05 * energies.self_energy_j[1]
    assert closure.factor == pytest.approx(1.0, abs=0.01)


def test_what_a_container_that_was_not_replayed_spends_is_not_its_containers_own():
    """A container around a container around a leaf, each a second for itself; 1 s of 20 W each.

    The middle one was not replayed: what is left of the outer one without the leaf is of both.
    """
    paths = CallPaths.of(
        np.array([0, 1, 2], np.int32), np.array([-1, 0, 1], np.int32), np.ones(3, dtype=bool)
    )
    times = PathTimes(np.full(3, 10.0), np.array([3.0, 2.0, 1.0]), np.ones(3))
    names = NameEnergies(np.array([6.0, math.nan, 2.0]), np.full(3, 0.01), IDLE_W, 0.0)
    energies, closure = close(names, paths, times, 3.0, WindowEnergy(3 * 80.0, 0.1))
    away_j = np.abs(energies.self_energy_j - 80.0)
    assert np.all(away_j <= 2.0 * energies.self_energy_j_std)
    assert energies.self_energy_j_std[0] > 5.0
    assert closure.believable


def test_time_outside_has_idle_power():
    energies, _ = closed([20.0, 10.0, 7.0], 200.0 + 8.0 * IDLE_W, duration_s=8.0)
    assert energies.outside_j == pytest.approx(3.0 * IDLE_W)


def test_a_run_that_took_less_than_idle_has_no_energy_below_zero():
    energies, closure = closed([20.0, 10.0, 7.0], 200.0, total_std=100.0, duration_s=8.0)
    assert np.all(energies.self_energy_j >= 0.0)
    assert 0.0 <= energies.outside_j <= 200.0
    assert np.sum(energies.self_energy_j) + energies.outside_j == pytest.approx(200.0)
    assert closure.factor >= 0.0
    assert type(closure.factor) is float


def test_no_part_is_known_worse_than_to_be_a_part():
    names = NameEnergies(np.array([20.0, 10.0, 7.0]), np.full(3, 1e6), IDLE_W, 0.0)
    energies, _ = close(names, PATHS, TIMES, 5.0, WindowEnergy(500.0, 0.0))
    assert np.all(energies.self_energy_j_std <= 250.0)
    assert np.all(energies.energy_j_std <= 250.0)


# Equal work.


class Placed(nn.Module):
    def __init__(self, layer_idx, window=4):
        super().__init__()
        self.layer_idx, self.window = layer_idx, window


def same(one, other, x=None, y=None, **kwargs):
    x = torch.zeros(4, 8) if x is None else x
    y = x if y is None else y
    return work_of(one, (x,), {}) == work_of(other, (y,), kwargs)


def test_equal_modules_do_equal_work_whatever_their_values():
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
def test_other_modules_do_other_work(other):
    assert not same(nn.Linear(8, 8), other)


def test_other_arguments_are_other_work():
    layer = nn.Linear(8, 8)
    x = torch.zeros(4, 8)
    assert not same(layer, layer, x, torch.zeros(5, 8))
    assert not same(layer, layer, x, x.double())
    assert not same(layer, layer, x, torch.zeros(8, 4).t())
    assert not same(layer, layer, x, x, scale=2.0)
    assert not same(Placed(0, window=4), Placed(0, window=8))


def test_objects_that_are_gone_are_not_taken_for_those_that_came_after():
    """What is freed leaves its id to the next one."""
    layer = nn.Identity()
    keys = [work_of(layer, (np.zeros(size),), {}) for size in (3, 4, 5)]
    assert len(set(keys)) == 3


# What a repeated call leaves as it was.


def repeated(module, *args, duration_s=0.02, **kwargs):
    """Repeat the one call of a module in a block; gives the block and the call's own output."""
    (entry, *_) = module_entries(module)
    clock = _core.steady_clock()
    found = SimpleNamespace(block=None)

    def see(args, kwargs):
        if found.block is None:
            found.block = "begun"
            repeater = Repeater(module, intercept.run, args, kwargs, entry.device, clock)
            found.block = repeater.block(3, duration_s)

    with Intercept(entry, see) as intercept:
        output = module(*args, **kwargs)
    return found.block, output


def test_a_block_knows_its_calls_and_their_time():
    block, _ = repeated(nn.Identity(), torch.zeros(1))
    assert block.work == 3
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


def _rand_after(work, seed):
    torch.manual_seed(seed)
    work()
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
    """Appends to a cache that it is given, as transformers' attention does, and counts."""

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
    """Keeps state in much that is no list, dictionary or dense tensor."""

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


class Reentered(nn.Module):
    """Notes in an attribute that it is at work, and what it has seen."""

    def __init__(self):
        super().__init__()
        self.inner, self.busy, self.calls = nn.Linear(2, 2), False, 0

    def forward(self, x):
        assert not self.busy
        self.busy, self.calls = True, self.calls + 1
        x = self.inner(x)
        self.busy = False
        return x


def test_a_pass_that_is_ended_early_leaves_the_models_attributes():
    model = Reentered()
    profile = pywatt.profile(
        *(model, [torch.zeros(1, 2)] * 20),
        warmup=0,
        method="replay",
        budget_s=0.5,
        repeat=False,
    )
    assert not [note for note in profile.notes if "ended early" in note]
    assert (model.busy, model.calls) == (False, 20)


class Threaded(nn.Module):
    """Runs its parts in threads of its own."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        found = {}

        def run(k):
            found[k] = self.parts[k](x)

        for k in range(len(self.parts)):
            thread = threading.Thread(target=run, args=(k,))
            thread.start()
            thread.join()
        return sum(found.values())


def test_modules_in_threads_of_the_model_end_no_thread_and_are_marked(gpus, capfd):
    """What their container waits for is no part of it: its figure holds theirs once more."""
    clock = FollowedClock(gpus)
    model = Threaded(Kernel(gpus, 5e-4, 200.0, clock), Kernel(gpus, 3e-4, 400.0, clock)).eval()
    options = {"warmup": 0, "sensors": "nvml:0", "method": "replay", "clock": clock}
    batches = [torch.zeros(1)] * 400
    profile = pywatt.profile(model, batches, **options, budget_s=4.0, accuracy=None)
    assert not [note for note in profile.notes if "ended early" in note]
    assert "Traceback" not in capfd.readouterr().err
    assert any("cannot be believed here" in note for note in profile.notes)
    assert [layer.resolved for layer in profile.layers if layer.calls] == [False] * 3


class LazyKernel(nn.modules.lazy.LazyModuleMixin, Kernel):
    """A kernel whose parameter has no shape before its first call."""

    cls_to_become = Kernel

    def __init__(self, *args):
        super().__init__(*args)
        self.weight = nn.UninitializedParameter()

    def initialize_parameters(self, x):
        if self.has_uninitialized_params():
            self.weight.materialize((1,))
            nn.init.ones_(self.weight)


def test_lazy_modules_are_replayed_once_a_pass_has_made_them(gpus):
    clock = FollowedClock(gpus)
    model = nn.Sequential(LazyKernel(gpus, 5e-4, 200.0, clock)).eval()
    options = {"warmup": 1, "sensors": "nvml:0", "method": "replay", "clock": clock}
    profile = pywatt.profile(model, [torch.zeros(1, 2)] * 400, **options, budget_s=3.0)
    assert profile.method == "replay", profile.notes


@pytest.mark.parametrize("method", ["auto", "replay"])
def test_a_run_that_trains_is_not_replayed(method):
    def trained(method):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
        optimizer = torch.optim.SGD(model.parameters(), 0.01)

        clock = pywatt.ScriptedClock()

        def step(model, batch):
            optimizer.zero_grad()
            model(batch).sum().backward()
            optimizer.step()
            clock.advance(1e-3)

        options = scripted(clock=clock, warmup=0, method=method, budget_s=0.5, repeat=False)
        found = pywatt.profile(model, [torch.ones(2, 4)] * 5, forward=step, **options)
        return found, [(p.detach().clone(), p.grad) for p in model.parameters()]

    (profile, left), (_, expected) = trained(method), trained("time")
    assert profile.method != "replay"
    assert any("the run changed the model's parameters" in note for note in profile.notes)
    assert not any("which would tell" in note for note in profile.notes)
    for (weight, gradient), (expected_weight, expected_gradient) in zip(
        left, expected, strict=True
    ):
        assert torch.equal(weight, expected_weight)
        assert torch.equal(gradient, expected_gradient)


class ScalesItsWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        self.linear.weight.data.mul_(0.5)
        return self.linear(x)


def test_a_model_that_writes_past_autograd_into_its_weight_is_not_replayed():
    model = ScalesItsWeight()
    weight = model.linear.weight.detach().clone()
    pywatt.profile(model, [torch.zeros(1, 2)] * 3, warmup=0, method="replay", budget_s=0.5)
    assert torch.equal(model.linear.weight, weight / 8)


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


def test_copies_keep_layout_and_identity():
    x, expanded = torch.zeros(8, 4).t(), torch.zeros(1).expand(5)
    sliced = torch.arange(10.0)[::2]
    one, two, (three, four), kept = copy_tensors((x, x, [sliced, expanded], "text"))
    assert one is two
    assert one is not x
    assert one.stride() == x.stride()
    assert three.stride() == sliced.stride()
    assert torch.equal(three, sliced)
    assert four.stride() == (0,)
    assert kept == "text"


def test_an_intercept_leaves_nothing_behind():
    module = nn.Linear(2, 2)
    before = dict(module.__dict__)
    with Intercept(module_entries(module)[0], lambda args, kwargs: None):
        module(torch.zeros(1, 2))
    assert module.__dict__ == before


# The whole, on the simulated GPU.

SENSORS = {
    "100/25 and counter": {},
    "100/25": {"has_counter": 0},
    "100/100": {"has_counter": 0, "window_s": 0.1},
    "20/10": {"has_counter": 0, "update_period_s": 0.02, "window_s": 0.01},
    "100/1000": {"has_counter": 0, "has_instant": 0},
    "counter": {"has_instant": 0, "has_average": 0, "has_power_usage": 0},
}


def replay(gpus, count, *, scripted, run_s=5.0, seed=1, drift=None, options=None, **sensor):
    """Profile kernels with default settings but for `options`."""
    gpus.configure(phase_s=0.0317 * seed, counter_phase_s=0.0711 * seed, **sensor)
    clock = FollowedClock(gpus) if scripted else None
    model = kernels(gpus, count, clock=clock, drift=drift, seed=seed)
    passes = Passes(model, run_s)
    begin_s = time.perf_counter()
    profile = pywatt.profile(model, passes, sensors="nvml:0", clock=clock, **options or {})
    verdict = Verdict.of(profile, passes)
    took_s = time.perf_counter() - begin_s
    print(
        f"{verdict}, closure {profile.closure:.4f} ± {profile.closure_std:.4f}, {took_s:.0f} s "
        f"({profile.method})"
    )
    return profile, verdict, took_s


@pytest.mark.parametrize("sensor", SENSORS)
def test_layers_far_below_the_sensors_resolution(gpus, sensor):
    """On a machine that does nothing else: what is left is the method's own error."""
    # A window of 1 s takes long to be told, and each block as well.
    options = {"budget_s": 30.0 if sensor == "100/1000" else 12.0}
    profile, verdict, _ = replay(
        gpus, 8, scripted=True, run_s=3.0, options=options, **SENSORS[sensor]
    )
    assert profile.method == "replay"
    assert verdict.misattributed < 0.002, str(verdict)
    assert profile.closure == pytest.approx(1.0, abs=0.002)
    assert profile.closure_std > 0
    own_j = sum(layer.self_energy_j for layer in profile.layers)
    assert own_j + profile.outside_j == pytest.approx(profile.energy_j, rel=1e-3)


def slow_drift(time_s):
    """5 % up and down within 25 s."""
    return 1.0 + 0.05 * math.sin(2 * math.pi * time_s / 25.0)


def test_noise_and_drift(gpus):
    """5 % of slow drift of all kernels alike is told from the blocks, and taken out."""
    profile, verdict, _ = replay(gpus, 6, scripted=True, run_s=3.0, drift=slow_drift, noise_w=1.0)
    assert verdict.misattributed < 0.002, str(verdict)
    assert verdict.covered >= 0.8, str(verdict)
    # Where in the drift the run was is not known beforehand: the ratio says so.
    assert 0.005 < profile.closure_std < 0.06


def test_the_budget_is_kept_and_what_it_left_out_is_said(gpus):
    clock = FollowedClock(gpus)
    model = kernels(gpus, 12, clock=clock, seed=2)
    passes = Passes(model, 1.0)
    profile = pywatt.profile(
        model,
        passes,
        warmup=0,
        sensors="nvml:0",
        method="replay",
        budget_s=3.0,
        clock=clock,
    )
    assert any("budget_s=3" in note for note in profile.notes)
    # What was left out has a wide deviation, and still the sum is what was measured.
    own_j = sum(layer.self_energy_j for layer in profile.layers)
    assert own_j + profile.outside_j == pytest.approx(profile.energy_j, rel=1e-3)
    shares = [layer.energy_j_std / layer.energy_j for layer in profile.layers if layer.name]
    assert max(shares) > 0.2


def test_a_budget_for_nothing_is_kept_and_said(gpus):
    clock = FollowedClock(gpus)
    model = kernels(gpus, 4, clock=clock)
    passes = Passes(model, 0.5)
    begin_s = clock.now_s()
    profile = pywatt.profile(
        *(model, passes), warmup=0, sensors="nvml:0", method="replay", budget_s=0.1, clock=clock
    )
    assert any("nothing could be replayed within budget_s=0.1" in n for n in profile.notes)
    # The run, and idle before and after it.
    assert clock.now_s() - begin_s < 2.0


def test_a_pass_longer_than_the_budget_is_ended_within_it(gpus):
    clock = FollowedClock(gpus)
    model = nn.Sequential(*(Kernel(gpus, 0.01, 300.0, clock) for _ in range(200))).eval()
    begin_s = clock.now_s()
    profile = pywatt.profile(
        *(model, Passes(model, 4.0)),
        **{"warmup": 0, "sensors": "nvml:0", "method": "replay", "budget_s": 0.5, "clock": clock},
    )
    assert any("nothing could be replayed within budget_s=0.5" in n for n in profile.notes)
    # The run takes 4 s, and there is idle before and after it.
    assert clock.now_s() - begin_s < 4.0 + 0.5 + 1.0
    assert profile.method == "time"


def test_a_sensor_that_is_lost_in_replay_ends_it_and_is_told(gpus):
    clock = FollowedClock(gpus)
    model = kernels(gpus, 4, clock=clock)
    begin_s = clock.now_s()

    def lose(module, inputs):
        if clock.now_s() - begin_s > 4.0:
            gpus.fail("nvmlDeviceGetFieldValues", 15)

    model.register_forward_pre_hook(lose)
    profile = pywatt.profile(
        *(model, Passes(model, 0.5)),
        **{"warmup": 0, "sensors": "nvml:0", "method": "replay", "budget_s": 20.0, "clock": clock},
    )
    assert any(n.startswith("in replay, the trace of nvml:0 ended early") for n in profile.notes)
    assert clock.now_s() - begin_s < 10.0
    assert profile.energy_j is not None


def later_power_is_triple(gpus, method):
    """Profile kernels of 0.1 to 0.3 ms that draw three times as much once the run is over."""
    clock = FollowedClock(gpus)
    over_s = clock.now_s() + 1.5
    drift = lambda time_s: 1.0 if time_s < over_s else 3.0  # noqa: E731
    powers_w = (150.0, 250.0, 200.0)
    model = nn.Sequential(
        *(Kernel(gpus, 1e-4 * (k + 1), w, clock, drift) for k, w in enumerate(powers_w))
    )
    return pywatt.profile(
        *(model.eval(), Passes(model, 1.0)),
        **{"warmup": 0, "sensors": "nvml:0", "method": method, "budget_s": 4.0, "clock": clock},
    )


@pytest.mark.parametrize("method", ["auto", "replay"])
def test_rows_of_a_replay_that_is_not_believed_are_marked(gpus, method):
    profile = later_power_is_triple(gpus, method)
    assert profile.method == {"auto": "time", "replay": "replay"}[method]
    assert any("replay's figures cannot be believed here" in note for note in profile.notes)
    rows = [layer for layer in profile.layers if layer.calls and layer.name]
    assert [layer.resolved for layer in rows] == [False] * 3
    assert str(profile).count("†") == 3 + 1 + 1  # the rows, the model itself and what it means


def test_a_replay_that_the_run_contradicts_is_not_believed():
    energies, closure = closed([40.0, 20.0, 14.0], 200.0 + 5.0 * IDLE_W)
    assert np.sum(energies.self_energy_j) + energies.outside_j == pytest.approx(500.0)
    assert closure.factor == pytest.approx(500.0 / 700.0)
    assert np.all(energies.self_energy_j_std > 0.15 * energies.self_energy_j)


KNOWN = SensorModel(
    *(None, 0.001), window_s=0.025, window_s_std=2e-4, delay_s=0.0, delay_s_std=2e-4
)


def test_a_known_sensor_need_not_be_probed(gpus):
    """Where there is no counter, to find out how the sensor averages takes half of this budget."""
    gpus.configure(has_counter=0)
    clock = FollowedClock(gpus)
    model = kernels(gpus, 4, clock=clock, seed=3)
    passes = Passes(model, 2.0)
    options = {"warmup": 0, "sensors": "nvml:0", "method": "replay", "clock": clock}
    profile = pywatt.profile(
        *(model, passes), **options, budget_s=4.0, sensor_models={"nvml:0": KNOWN}
    )
    verdict = Verdict.of(profile, passes)
    assert verdict.misattributed < 0.003, str(verdict)


def test_a_known_sensor_tells_how_many_modules_there_are_for_regression(gpus):
    """Of many modules the run itself cannot tell what the sensor averages."""
    clock = FollowedClock(gpus)
    model = kernels(gpus, 40, clock=clock)
    options = {"warmup": 0, "sensors": "nvml:0", "method": "regression", "clock": clock}
    unknown = pywatt.profile(model, Passes(model, 3.0), **options)
    known = pywatt.profile(model, Passes(model, 3.0), **options, sensor_models={"nvml:0": KNOWN})
    assert unknown.method == "time"
    assert any("cannot tell window and delay" in note for note in unknown.notes)
    assert known.method == "regression"


def test_models_of_sensors_that_are_not_read_are_refused(gpus):
    known = SensorModel(None, 0.001)
    with pytest.raises(pywatt.ArgumentError, match="'nvml:7', but what is read is nvml:0"):
        pywatt.Profiler(nn.Identity(), sensors="nvml:0", sensor_models={"nvml:7": known})
    with pytest.raises(pywatt.ArgumentError, match=r"what pywatt\.characterize tells"):
        pywatt.Profiler(nn.Identity(), sensors="nvml:0", sensor_models={"nvml:0": 0.025})


def test_equal_layers_of_a_model_are_replayed_together(gpus):
    clock = FollowedClock(gpus)
    gpus.configure(counter_phase_s=0.03)
    model = nn.Sequential(*(Kernel(gpus, 0.0005, 300.0, clock) for _ in range(6))).eval()
    passes = Passes(model, 1.0)
    profile = pywatt.profile(
        model,
        passes,
        warmup=0,
        sensors="nvml:0",
        method="replay",
        budget_s=3.0,
        clock=clock,
    )
    assert any("1 kinds of equal modules" in note for note in profile.notes)
    assert not any("not replayed" in note for note in profile.notes)
    assert Verdict.of(profile, passes).misattributed < 0.002


def test_only_profile_replays():
    with pywatt.Profiler(nn.Identity(), method="replay") as p:
        pass
    assert any("only pywatt.profile can" in note for note in p.result().notes)


def test_a_saved_profile_keeps_its_closure(gpus, tmp_path):
    profile, _, _ = replay(gpus, 3, scripted=True, run_s=1.0, options={"budget_s": 5.0})
    profile.save(tmp_path / "run.json")
    assert pywatt.load(tmp_path / "run.json").closure_std == profile.closure_std


@pytest.mark.parametrize("budget_s", [0.0, -1.0, math.nan, math.inf, True, "30", None, 10**400])
def test_a_budget_is_a_time(budget_s):
    with pytest.raises(pywatt.ArgumentError, match="budget_s"):
        pywatt.profile(nn.Linear(2, 2), [torch.zeros(1, 2)], method="replay", budget_s=budget_s)


def test_standard_deviations_are_honest(gpus):
    """Over repeated runs the truth lies within two of them in 90 to 99 % of the rows."""
    away = []
    for seed in range(1, 5):
        gpus.reset()
        drift = slow_drift if seed % 2 else None
        _, verdict, _ = replay(
            gpus, 12, scripted=True, run_s=3.0, seed=seed, drift=drift, noise_w=1.0
        )
        away.extend((verdict.estimate_j - verdict.truth_j) / verdict.std_j)
    away = np.abs(away)
    print(
        f"{np.mean(away <= 2.0):.1%} within two, root mean square {np.sqrt(np.mean(away**2)):.2f}"
    )
    assert np.mean(away <= 2.0) >= 0.9
    # Nor are they far too wide: as many rows as a third lie beyond a quarter of one.
    assert np.mean(away > 0.25) >= 0.33


@pytest.mark.accuracy
@pytest.mark.parametrize("sensor", SENSORS)
def test_twenty_layers_in_real_time(gpus, sensor):
    profile, verdict, took_s = replay(gpus, 20, scripted=False, **SENSORS[sensor])
    assert profile.method == "replay"
    assert took_s <= 60.0
    most = 0.01 if sensor == "100/25 and counter" else 0.02
    assert verdict.misattributed < most, str(verdict)
    if sensor == "100/25 and counter":
        assert verdict.worst < 0.05, str(verdict)


@pytest.mark.accuracy
def test_a_slow_sensor_with_noise_and_drift_in_real_time(gpus):
    _, verdict, _ = replay(
        gpus, 20, scripted=False, drift=slow_drift, noise_w=1.0, call_latency_s=0.001
    )
    assert verdict.misattributed < 0.03, str(verdict)


@pytest.mark.accuracy
def test_fifty_layers_in_real_time(gpus):
    _, verdict, took_s = replay(gpus, 50, scripted=False, options={"budget_s": 100.0})
    assert took_s <= 120.0
    assert verdict.misattributed < 0.02, str(verdict)
