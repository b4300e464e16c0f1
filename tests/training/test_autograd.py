"""Backward calls of modules, in the order of autograd."""

import pytest
import torch
from fakes.models import scripted
from fakes.timed_training import Loader, Timed, TimedSgd, adds_up, layer
from torch import nn
from torch.utils.checkpoint import checkpoint

import pywatt


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
