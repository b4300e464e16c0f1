"""Replay of trainings: against the truth of the simulated GPU, and that it leaves no trace."""

import copy

import pytest
import torch
import transformers
from fakes.simulated_model import FollowedClock, Kernel
from fakes.simulated_training import (
    DrawingLoader,
    DrawingSgd,
    Drawn,
    TrainingVerdict,
    trained_kernels,
)
from fakes.timed_training import adds_up
from torch import nn

import pywatt


def simulated(gpus, *, batches, seed=1, method="auto"):
    """A training on the simulated GPU, read as an H100 is, and what everything drew in it."""
    gpus.configure(phase_s=0.0317 * seed, counter_phase_s=0.0711 * seed)
    clock = FollowedClock(gpus)
    model = trained_kernels(gpus, 4, clock, seed=seed)
    optimizer = DrawingSgd(model.parameters(), Kernel(gpus, 0.004, 320.0, clock))
    loader = DrawingLoader(batches, Kernel(gpus, 0.003, 90.0, clock), clock, seed)
    drawn = Drawn(model, optimizer, loader)
    seen = [drawn.look()]
    profile = pywatt.profile_training(
        *(model, loader),
        loss_fn=nn.MSELoss(),
        optimizer=optimizer,
        sensors="nvml:0",
        clock=clock,
        method=method,
        budget_s=9.0,
        # After the epoch, and before replay draws more.
        after_epoch=lambda number: seen.append(drawn.look()),
    )
    return profile, {key: seen[1][key] - seen[0][key] for key in seen[0]}


def test_phases_and_layers_far_below_the_sensors_resolution(gpus):
    profile, drawn_j = simulated(gpus, batches=200)
    assert adds_up(profile)
    assert profile.method == "replay"
    phases = TrainingVerdict.of_phases(profile, drawn_j)
    layers = TrainingVerdict.of_layers(profile, drawn_j)
    assert phases.misattributed <= 0.05, phases
    assert layers.misattributed <= 0.05, layers
    assert layers.worst <= 0.05, layers
    assert phases.covered, phases
    assert profile.closure == pytest.approx(1.0, abs=0.05)
    for name in ("forward", "backward", "optimizer"):
        assert profile.phase(name).resolved


def test_by_time_the_same_training_is_far_off(gpus):
    """What replay is for: shares of time put a good part of the energy on the wrong layers."""
    profile, drawn_j = simulated(gpus, batches=60, method="time")
    assert adds_up(profile)
    assert TrainingVerdict.of_layers(profile, drawn_j).misattributed > 0.15
    assert TrainingVerdict.of_phases(profile, drawn_j).misattributed > 0.15


# It leaves no trace.


def model_state(model, optimizer):
    return {
        "model": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "random": torch.get_rng_state(),
    }


def train(model, optimizer, loader, loss_fn, **options):
    if options:
        profile = pywatt.profile_training(
            model, loader, loss_fn=loss_fn, optimizer=optimizer, **options
        )
    else:
        profile = None
        for batch in loader:
            output = model(**batch) if isinstance(batch, dict) else model(batch[0])
            loss = output.loss if loss_fn is None else loss_fn(output, batch[1])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return profile, model_state(model, optimizer)


def assert_equal(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


def gpt2():
    config = transformers.GPT2Config(vocab_size=32, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    tokens = torch.randint(32, (3, 2, 8))
    return transformers.GPT2LMHeadModel(config), [
        {"input_ids": each, "labels": each} for each in tokens
    ]


def vit():
    config = transformers.ViTConfig(
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
        **{"intermediate_size": 32, "image_size": 8, "patch_size": 4, "num_labels": 3},
    )
    images, labels = torch.randn(3, 2, 3, 8, 8), torch.randint(3, (3, 2))
    return transformers.ViTForImageClassification(config), [
        {"pixel_values": image, "labels": label}
        for image, label in zip(images, labels, strict=True)
    ]


def resnet():
    config = transformers.ResNetConfig(
        **{"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
        **{"layer_type": "basic", "num_labels": 3},
    )
    images, labels = torch.randn(3, 2, 3, 32, 32), torch.randint(3, (3, 2))
    return transformers.ResNetForImageClassification(config), [
        {"pixel_values": image, "labels": label}
        for image, label in zip(images, labels, strict=True)
    ]


@pytest.mark.parametrize("make", [gpt2, vit, resnet])
def test_real_architectures_train_the_same_and_leave_no_trace(make):
    def run(**options):
        torch.manual_seed(0)
        model, batches = make()
        return train(model.train(), torch.optim.AdamW(model.parameters()), batches, None, **options)

    profile, state = run(method="replay", budget_s=0.6)
    _, expected = run()
    assert_equal(state, expected)
    assert adds_up(profile)
    assert profile.estimated
    problems = ("ended early", "failed when repeated", "second pass")
    assert not [note for note in profile.notes if any(word in note for word in problems)]
    trained = [row for row in profile.layers if row.type in ("Linear", "Conv1D", "Conv2d")]
    assert trained
    for row in trained:
        assert row.forward_calls == row.backward_calls == 3, row.name
        assert row.backward_energy_j > 0, row.name


class Noted(nn.Module):
    """Counts its calls in a buffer and an attribute, and draws random numbers."""

    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(4, 4), 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.seen += 1
        return nn.functional.dropout(self.linear(x), 0.5)


def test_modules_with_state_of_their_own():
    def run(**options):
        torch.manual_seed(0)
        model = nn.Sequential(Noted(), nn.ReLU(inplace=True), nn.Linear(4, 1))
        batches = [(torch.randn(2, 4), torch.randn(2, 1)) for _ in range(4)]
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        found = train(model, optimizer, batches, nn.functional.mse_loss, **options)
        return *found, model[0].calls

    profile, state, calls = run(method="replay", budget_s=0.6)
    _, expected, expected_calls = run()
    assert_equal(state, expected)
    assert calls == expected_calls
    assert profile.layers[1].backward_calls == 4


def test_what_cannot_be_run_again_is_not():
    model = nn.Linear(2, 1)
    batches = [(torch.randn(2, 2), torch.randn(2, 1))] * 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    stepped = []
    optimizer.register_step_post_hook(lambda *_: stepped.append(1))
    profile, _ = train(
        *(model, optimizer, batches, nn.functional.mse_loss), method="replay", budget_s=0.5
    )
    assert len(stepped) == 3
    assert any("the optimizer has hooks of yours" in note for note in profile.notes)
    assert profile.method != "replay"


@pytest.mark.parametrize("of", ["module", "module, before", "parameter", "parameter, after"])
def test_nothing_is_replayed_where_hooks_of_the_users_run_in_backward(of):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    called = []
    weight = model[1].weight
    {
        "module": model[1].register_full_backward_hook,
        "module, before": model[1].register_full_backward_pre_hook,
        "parameter": weight.register_hook,
        "parameter, after": weight.register_post_accumulate_grad_hook,
    }[of](lambda *_: called.append(of))
    profile = pywatt.profile_training(
        *(model, [(torch.ones(2, 2), torch.ones(2, 2))] * 3),
        loss_fn=nn.functional.mse_loss,
        optimizer=torch.optim.SGD(model.parameters(), 0.1),
        method="replay",
        budget_s=0.5,
    )
    assert len(called) == 3
    assert any("hooks of yours that run in backward" in note for note in profile.notes)
    assert profile.method != "replay"
