"""A training that is profiled ends as the same training without a profile."""

import copy
import random

import numpy as np
import pytest
import torch
from fakes.models import traces_left
from fakes.timed_training import adds_up, layer
from torch import nn

import pywatt


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
