"""Training: phases, epochs and layers in scripted time, and that it is the same training."""

import copy
import gc
import random

import numpy as np
import pytest
import torch
from models import scripted, traces_left
from simulated_cuda import SimulatedCuda
from timed_training import STEP_S, STEP_W, Loader, Timed, TimedSgd, Training, adds_up
from torch import nn
from torch.utils.checkpoint import checkpoint

import pywatt
from pywatt.attribution.result import PathTimes
from pywatt.model.cuda_timeline import CudaTimeline
from pywatt.sensors.discovery import select
from pywatt.training.hooks import TrainingHooks
from pywatt.training.profiler import enough_hz
from pywatt.training.sampling import StepSampling


def layer(profile, name):
    (found,) = [row for row in profile.layers if row.name == name]
    return found


# Phases, epochs and layers, of known power and time.


def test_each_phase_has_its_energy():
    profile = Training(batches=8).run()
    assert adds_up(profile)
    for phase in profile.phases:
        assert phase.time_s == pytest.approx(8 * STEP_S[phase.name], abs=1e-6)
        expected_j = 8 * STEP_S[phase.name] * STEP_W[phase.name]
        # The sensor is read every millisecond, and where power steps a half of it is the other's.
        powers_w = [*STEP_W.values()]
        k = [*STEP_W].index(phase.name)
        steps_w = abs(powers_w[k] - powers_w[k - 1]) + abs(powers_w[k] - powers_w[(k + 1) % 5])
        assert phase.energy_j == pytest.approx(expected_j, abs=8 * 0.0005 * steps_w)
        assert phase.resolved
        assert phase.energy_j_std < 0.05 * phase.energy_j
    total_j = 8 * sum(STEP_S[name] * STEP_W[name] for name in STEP_S)
    assert profile.energy_j == pytest.approx(total_j, rel=1e-3)
    assert profile.duration_s == pytest.approx(8 * sum(STEP_S.values()), abs=1e-6)
    assert (profile.batches, profile.samples) == (8, 32)
    assert profile.method == "overlap"
    assert not profile.estimated


def test_each_layer_has_its_energy_forward_and_backward():
    profile = Training(batches=8, layers=2).run()
    for name in ("0", "1"):
        row = layer(profile, name)
        assert (row.forward_calls, row.backward_calls) == (8, 8)
        assert row.forward_time_s == pytest.approx(8 * 0.1, abs=1e-6)
        assert row.backward_time_s == pytest.approx(8 * 0.15, abs=1e-6)
        assert row.forward_energy_j == pytest.approx(8 * 0.1 * 100.0, rel=0.01)
        assert row.backward_energy_j == pytest.approx(8 * 0.15 * 200.0, rel=0.01)
        assert row.energy_j == pytest.approx(row.forward_energy_j + row.backward_energy_j)
    assert profile.traced_batches < profile.batches
    assert any("modules were traced in" in note for note in profile.notes)


def test_epochs_have_energies_losses_and_samples():
    training = Training(batches=4)
    profile = training.run(epochs=3)
    assert [epoch.index for epoch in profile.epochs] == [0, 1, 2]
    each_j = 4 * sum(STEP_S[name] * STEP_W[name] for name in STEP_S)
    for epoch in profile.epochs:
        assert epoch.complete
        assert epoch.energy_j == pytest.approx(each_j, rel=0.005)
        assert (epoch.batches, epoch.samples) == (4, 16)
    losses = [epoch.loss for epoch in profile.epochs]
    assert losses == sorted(losses, reverse=True)
    assert sum(e.energy_j for e in profile.epochs) == pytest.approx(profile.energy_j, rel=1e-9)


def test_what_is_done_between_epochs_is_in_none_of_them():
    training = Training(batches=4)
    profile = training.run(epochs=2, after_epoch=lambda number: training.clock.advance(1.0))
    other = profile.phase("other")
    assert other.time_s == pytest.approx(8 * STEP_S["other"] + 2.0, abs=1e-6)
    assert profile.duration_s - sum(e.duration_s for e in profile.epochs) == pytest.approx(2.0)


def test_a_constant_power_is_shared_exactly():
    clock = pywatt.ScriptedClock()
    model = nn.Sequential(Timed(clock, 0.02, 0.04), Timed(clock, 0.01, 0.03))
    optimizer = TimedSgd(model.parameters(), clock, 0.05)
    profile = pywatt.profile_training(
        *(model, Loader(clock, 5, 0.01)),
        loss_fn=nn.MSELoss(),
        optimizer=optimizer,
        method="time",
        **scripted(50.0, clock),
    )
    for name, seconds in {
        "data": 0.05,
        "forward": 0.15,
        "backward": 0.35,
        "optimizer": 0.25,
    }.items():
        assert profile.phase(name).energy_j == pytest.approx(50.0 * seconds, rel=1e-9)
    assert layer(profile, "0").backward_energy_j == pytest.approx(50.0 * 0.2, rel=1e-9)
    assert layer(profile, "0").resolved is False
    assert any("hardly more than shares of time" in note for note in profile.notes)


def test_the_report_says_what_it_is(capsys):
    training = Training(batches=4)
    profile = training.run(epochs=2)
    text = str(profile)
    for part in ("MEASURED with scripted", "data", "optimizer", "Epoch", "backward"):
        assert part.lower() in text.lower()
    told = str(profile.extrapolate(10))
    assert "EXTRAPOLATED to 10 epochs from 2" in told
    assert "extrapolated, not measured" in told


# It is the same training.


def state_after(train):
    """Everything that a training leaves, from one beginning."""
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(64, 3),
    )
    data = torch.utils.data.TensorDataset(torch.randn(24, 1, 6, 6), torch.randint(3, (24,)))
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    losses = train(model, loader, optimizer, scheduler)
    return {
        "losses": losses,
        "model": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "lr": scheduler.get_last_lr(),
        "random": (torch.get_rng_state(), random.random(), np.random.random()),  # noqa: NPY002
        "gradients": [p.grad for p in model.parameters()],
    }


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


def plain_training(model, loader, optimizer, scheduler):
    losses = []
    for _ in range(3):
        for images, labels in loader:
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        scheduler.step()
    return losses


@pytest.mark.parametrize("method", ["overlap", "replay"])
def test_it_is_the_same_training_to_the_bit(method):
    def profiled(model, loader, optimizer, scheduler):
        losses = []

        def loss_fn(output, labels):
            loss = nn.functional.cross_entropy(output, labels)
            losses.append(float(loss.detach()))
            return loss

        before = traces_left(model)
        profile = pywatt.profile_training(
            *(model, loader),
            loss_fn=loss_fn,
            optimizer=optimizer,
            scheduler=scheduler,
            epochs=3,
            method=method,
            budget_s=0.5,
        )
        assert traces_left(model) == before
        assert adds_up(profile)
        assert layer(profile, "0").backward_calls == pytest.approx(18)
        return losses[:18]  # replay computes the loss too

    assert_same(state_after(profiled), state_after(plain_training))


# Backward calls, found in autograd's own order.


class Residual(nn.Module):
    """Two branches, one of them the identity, and a function of torch's between modules."""

    def __init__(self, clock):
        super().__init__()
        self.first, self.second = Timed(clock, 0.01, 0.02), Timed(clock, 0.02, 0.04)
        self.after = Timed(clock, 0.04, 0.08)

    def forward(self, x):
        x = x + self.second(torch.relu(self.first(x)))
        return self.after(x)


def trained(model, clock, batches=3, **options):
    """A training with tracing in its first steps, of a constant power."""
    chosen = {
        "loss_fn": nn.MSELoss(),
        "optimizer": torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.01),
        "method": "time",
    }
    if "step_fn" in options:
        chosen.pop("loss_fn")
    return pywatt.profile_training(
        model, Loader(clock, batches), **chosen | options, **scripted(50.0, clock)
    )


def backward_times(profile, batches=3):
    return {
        row.name: (row.backward_calls / batches, round(row.backward_time_s / batches, 9))
        for row in profile.layers
        if "linear" not in row.name
    }


def test_branches_in_backward():
    clock = pywatt.ScriptedClock()
    profile = trained(Residual(clock), clock)
    assert backward_times(profile) == {
        "": (1, 0.14),
        "first": (1, 0.02),
        "second": (1, 0.04),
        "after": (1, 0.08),
    }
    assert adds_up(profile)


class Shares(nn.Module):
    """One module called three times in a step, twice in a row."""

    def __init__(self, clock):
        super().__init__()
        self.shared, self.other = Timed(clock, 0.01, 0.02), Timed(clock, 0.01, 0.04)

    def forward(self, x):
        return self.shared(self.other(self.shared(self.shared(x))))


def test_a_module_that_is_called_several_times():
    clock = pywatt.ScriptedClock()
    profile = trained(Shares(clock), clock)
    assert layer(profile, "shared").forward_calls == pytest.approx(9)
    assert backward_times(profile)["shared"] == (3, 0.06)
    assert backward_times(profile)["other"] == (1, 0.04)


def test_frozen_layers_have_no_backward():
    clock = pywatt.ScriptedClock()
    model = nn.Sequential(*(Timed(clock, 0.01, 0.02) for _ in range(4)))
    for index in (0, 1, 3):
        model[index].requires_grad_(False)
    profile = trained(model, clock)
    for index in (0, 1):  # nothing before the trained one gets a gradient
        row = layer(profile, str(index))
        assert (row.backward_calls, row.backward_energy_j) == (0, None)
        assert row.forward_energy_j == pytest.approx(50.0 * 0.03)
        assert row.trained_parameters == 0
    assert layer(profile, "3").backward_calls == 3  # passes the gradient on
    assert layer(profile, "3").backward_energy_j == pytest.approx(50.0 * 0.06)
    assert adds_up(profile)


class Checkpointed(nn.Module):
    def __init__(self, clock, reentrant):
        super().__init__()
        self.before, self.after = Timed(clock, 0.01, 0.02), Timed(clock, 0.01, 0.02)
        self.inside = nn.Sequential(Timed(clock, 0.04, 0.08), Timed(clock, 0.16, 0.32))
        self.reentrant = reentrant

    def forward(self, x):
        x = self.before(x)
        x = checkpoint(self.inside, x, use_reentrant=self.reentrant)
        return self.after(x)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_modules_run_forward_again_in_backward(reentrant):
    clock = pywatt.ScriptedClock()
    profile = trained(Checkpointed(clock, reentrant), clock)
    row = layer(profile, "inside.1")
    assert row.forward_calls == pytest.approx(3)
    assert row.forward_time_s == pytest.approx(3 * 0.16)
    assert layer(profile, "inside.0").backward_time_s == pytest.approx(3 * (0.08 + 0.04))
    # Without reentry, torch ends what it runs again once all that backward needs is there.
    again_s = 0.16 if reentrant else 0.0
    assert row.backward_time_s == pytest.approx(3 * (0.32 + again_s))
    inside_s = 0.08 + 0.04 + 0.32 + again_s
    assert layer(profile, "inside").backward_time_s == pytest.approx(3 * inside_s)
    assert layer(profile, "before").backward_time_s == pytest.approx(3 * 0.02)
    assert layer(profile, "after").backward_time_s == pytest.approx(3 * 0.02)
    assert adds_up(profile)


def test_gradients_are_added_up_over_batches():
    clock = pywatt.ScriptedClock()
    model = Timed(clock, 0.01, 0.02)
    optimizer = TimedSgd(model.parameters(), clock, 0.1)
    profile = trained(model, clock, batches=7, optimizer=optimizer, accumulate=3)
    assert profile.phase("optimizer").time_s == pytest.approx(3 * 0.1)  # 3 + 3 + 1 batches
    assert profile.phase("backward").time_s == pytest.approx(7 * 0.02)
    assert backward_times(profile, 7)[""] == (1, 0.02)


def test_added_up_gradients_are_those_of_the_plain_loop():
    def run(train):
        torch.manual_seed(0)
        model = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        batches = [(torch.randn(4, 2), torch.randn(4, 2)) for _ in range(6)]
        train(model, optimizer, batches)
        return model.state_dict()

    def plain(model, optimizer, batches):
        for number, (x, y) in enumerate(batches, 1):
            (nn.functional.mse_loss(model(x), y) / 2).backward()
            if number % 2 == 0:
                optimizer.step()
                optimizer.zero_grad()

    def profiled(model, optimizer, batches):
        pywatt.profile_training(
            *(model, batches),
            loss_fn=nn.functional.mse_loss,
            optimizer=optimizer,
            accumulate=2,
            method="time",
        )

    assert_same(run(profiled), run(plain))


def test_autocast_and_a_gradient_scaler():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 1))
    seen = []
    model[0].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    profile = pywatt.profile_training(
        *(model, [(torch.randn(4, 8), torch.zeros(4, 1))] * 6),
        loss_fn=lambda output, target: nn.functional.mse_loss(output.float(), target),
        optimizer=torch.optim.SGD(model.parameters(), 0.01),
        autocast=torch.bfloat16,
        scaler=torch.amp.GradScaler("cpu", enabled=True),
        method="replay",
        budget_s=0.5,
    )
    assert set(seen) == {torch.bfloat16}
    assert layer(profile, "0").backward_calls == pytest.approx(6)
    assert adds_up(profile)
    assert not [note for note in profile.notes if "ended early" in note or "failed" in note]


def test_an_lstm_and_outputs_of_several_tensors():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 1)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    model = Net()
    profile = pywatt.profile_training(
        *(model, [(torch.randn(4, 5, 2), torch.zeros(4, 1))] * 4),
        loss_fn=nn.MSELoss(),
        optimizer=torch.optim.SGD(model.parameters(), 0.01),
        method="replay",
        budget_s=0.5,
    )
    assert layer(profile, "lstm").backward_calls == pytest.approx(4)
    assert adds_up(profile)


def test_a_closure_works_inside_the_optimizer():
    clock = pywatt.ScriptedClock()
    model = Timed(clock, 0.01, 0.02)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)

    def step(p, model, batch):
        def closure():
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(batch[0]), batch[1])
            loss.backward()
            return loss

        with p.phase("optimizer"):
            return optimizer.step(closure)

    profile = trained(model, clock, optimizer=None, step_fn=step)
    assert profile.phase("optimizer").time_s == pytest.approx(profile.duration_s)
    assert profile.phase("forward").time_s == 0.0
    assert adds_up(profile)


# The user's own loop.


def test_the_users_own_loop():
    training = Training(batches=4)
    with pywatt.TrainingProfiler(
        training.model,
        sensors=training.sensor,
        clock=training.clock,
        method="overlap",
        rate_hz=1000.0,
    ) as p:
        for _ in range(2):
            for batch in p.epoch(training.loader):
                p.tell(loss=training.step(p, training.model, batch), samples=100)
    profile = p.result()
    assert [epoch.samples for epoch in profile.epochs] == [400, 400]
    assert profile.phase("backward").energy_j == pytest.approx(8 * 0.3 * 200.0, rel=0.01)
    assert adds_up(profile)
    with pytest.raises(pywatt.PywattError, match="used already"):
        p.__enter__()


def test_mistakes_are_told():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    good = {"loss_fn": nn.MSELoss(), "optimizer": optimizer}
    batches = [(torch.ones(1, 2), torch.ones(1, 2))]
    for options, said in (
        ({"epochs": 0}, "epochs is 0"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"budget_s": 0}, "budget_s is 0"),
        ({"method": "guess"}, "method is 'guess'"),
        ({"optimizer": None}, "give an optimizer="),
        (
            {"scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)},
            "steps with a metric.* in after_epoch=",
        ),
    ):
        with pytest.raises(pywatt.ArgumentError, match=said):
            pywatt.profile_training(model, batches, **good | options)
    with pytest.raises(pywatt.ArgumentError, match="gave no batch"):
        pywatt.profile_training(model, [], **good)
    with pytest.raises(pywatt.ArgumentError, match="gone through once"):
        pywatt.profile_training(model, iter(batches), epochs=2, **good)
    with pytest.raises(pywatt.BatchError, match="no loss"):
        pywatt.profile_training(model, batches, optimizer=optimizer)
    with (
        pytest.raises(pywatt.ArgumentError, match="no phase"),
        pywatt.TrainingProfiler(model) as p,
        p.phase("backwards"),
    ):
        pass


# Long trainings.


def test_memory_does_not_grow_with_the_training():
    """Hours in scripted time: spans are kept of the last segment only."""
    clock = pywatt.ScriptedClock()
    model = Timed(clock, 1.0, 2.0)
    sensor = pywatt.ScriptedSensor([50.0], clock=clock)
    spans, live = [], []
    with pywatt.TrainingProfiler(
        model, sensors=sensor, clock=clock, rate_hz=1.0, method="time"
    ) as p:
        for batch in p.epoch(Loader(clock, 1500, 1.0)):
            with p.phase("forward"):
                loss = model(batch[0]).sum()
            with p.phase("backward"):
                loss.backward()
            spans.append(len(p._segments.hooks.recorder))
            live.append(p._segments._pending is not None)
    assert p._segments.ledger.segments > 60
    assert max(spans) < 250
    assert gc.collect() >= 0
    profile = p.result()
    assert profile.duration_s == pytest.approx(1500 * 4.0)
    assert profile.energy_j == pytest.approx(50.0 * 6000.0, rel=1e-6)
    assert profile.epochs[0].energy_j == pytest.approx(profile.energy_j, rel=1e-9)
    assert adds_up(profile)


def test_few_steps_are_traced_of_many():
    sampling = StepSampling()
    steps, traced_steps, asked = [], 0, 0
    while len(steps) < 20_000:
        traced, until = sampling.choose()
        asked += 1
        steps += [traced] * until
        traced_steps += traced
        sampling.add(0.013 if traced else 0.010 * until, until, traced=traced)
    assert steps[:8] == [False, True, True, True, True, True, False, False]
    assert not any(steps[6:25])
    cost = 0.003 * traced_steps / (0.010 * len(steps))
    assert 0.0007 < cost < 0.0011
    assert asked < len(steps) / 12  # at most one in twenty is traced


def test_a_step_that_is_longer_than_all_before_is_looked_at_soon():
    sampling = StepSampling()
    for _ in range(20):
        traced, until = sampling.choose()
        sampling.add(1e-6 * until, until, traced=traced)
    _, until = sampling.choose()
    assert 1 < until <= 1000
    sampling.add(5.0 * until, until, traced=False)
    assert sampling.choose()[1] == 1


@pytest.mark.parametrize(
    ("sensors", "rate_hz"),
    [
        (["cpu:estimated"], 25.0),
        ([pywatt.ScriptedSensor([50.0], period_s=0.1)], 200.0),
        (["cpu:estimated", pywatt.ScriptedSensor([50.0], period_s=0.1)], 200.0),
    ],
)
def test_a_sensor_that_shows_new_values_in_its_own_time_is_read_more_often(sensors, rate_hz):
    assert enough_hz(select(sensors).sensors) == rate_hz


# On a GPU.


class _Given(torch.autograd.Function):
    """Gives the simulated device work forward and backward; the host does not wait."""

    @staticmethod
    def forward(ctx, x, cuda, forward_s, backward_s):
        ctx.cuda, ctx.backward_s = cuda, backward_s
        cuda.current_stream(0).give(forward_s)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.cuda.current_stream(0).give(ctx.backward_s)
        return gradient, None, None, None


class OnDevice(nn.Module):
    def __init__(self, cuda, forward_s, backward_s):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.work = (cuda, forward_s, backward_s)

    def forward(self, x):
        return _Given.apply(self.linear(x), *self.work)


def test_phases_and_layers_have_the_devices_time():
    clock = pywatt.ScriptedClock()
    cuda = SimulatedCuda(clock, latency_s=1e-5)
    model = nn.Sequential(OnDevice(cuda, 0.01, 0.02), OnDevice(cuda, 0.03, 0.05))
    hooks = TrainingHooks(
        *(model, clock),
        timeline=lambda device, clock: CudaTimeline(device, clock, cuda),
        home=lambda module: "cuda:0",
    )
    with hooks:
        for step in range(3):
            if step > 0:
                hooks.attach()
            with hooks.phases["forward"]:
                loss = model(torch.ones(2, 2)).sum()
            with hooks.phases["backward"]:
                loss.backward()
            if step > 0:
                hooks.detach()
        hooks.synchronize()
        hooks.recorder.close_all()
    spans = hooks.spans(["cuda:0"])
    times = PathTimes.of(spans)
    found = {
        (hooks.meanings[name].kind, hooks.meanings[name].of): float(times.time_s[path])
        for path, name in enumerate(spans.paths.name)
    }
    assert found["phase", "forward"] == pytest.approx(0.04, abs=1e-6)
    assert found["traced", "forward"] == pytest.approx(2 * 0.04, abs=1e-6)
    assert found["traced", "backward"] == pytest.approx(2 * 0.07, abs=1e-6)
    assert found["forward", "1"] == pytest.approx(2 * 0.03, abs=1e-6)
    assert found["backward", "1"] == pytest.approx(2 * 0.05, abs=1e-6)
    assert found["backward", "0"] == pytest.approx(2 * 0.02, abs=1e-6)
