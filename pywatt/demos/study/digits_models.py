"""Models and data of the demonstration, as a study file names them."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 10
PIXELS = 8 * 8


@functools.cache
def _digits() -> tuple[TensorDataset, TensorDataset]:
    """Return three quarters of the images for training and one quarter for the test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
    targets = torch.tensor(digits.target)
    seen, unseen = train_test_split(
        range(len(targets)), test_size=0.25, random_state=0, stratify=digits.target
    )
    return (
        TensorDataset(images[seen], targets[seen]),
        TensorDataset(images[unseen], targets[unseen]),
    )


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return batches of images of shape (samples, 1, 8, 8) and targets of shape (samples,)."""
    training, test = _digits()
    return DataLoader(training, batch_size=64, shuffle=True), DataLoader(test, batch_size=150)


def logistic_regression() -> nn.Module:
    """Return one linear layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, CLASSES))


def mlp(width: int) -> nn.Module:
    """Return a network of two hidden layers."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(PIXELS, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, CLASSES),
    )


def cnn() -> nn.Module:
    """Return a network of two convolutions."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, CLASSES),
    )


class VisionTransformer(nn.Module):
    """Patches of 2 x 2 pixels as tokens (Dosovitskiy et al., arXiv 2010.11929)."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.places = nn.Parameter(0.02 * torch.randn(1, 16, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (samples, 10)."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.places
        logits: torch.Tensor = self.head(self.encoder(tokens).mean(dim=1))
        return logits


class NearestCentroid(nn.Module):
    """Predict the class with the nearest mean image; trained without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.centroids = nn.Parameter(torch.zeros(CLASSES, PIXELS), requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return negated distances of shape (samples, 10): the nearest class has the largest."""
        return -torch.cdist(images.flatten(1), self.centroids)


def fit_centroids(model: NearestCentroid, loader: Iterable[Any]) -> None:
    """Compute the mean images in one pass over the training images."""
    sums = torch.zeros_like(model.centroids)
    counts = torch.zeros(CLASSES, 1, device=sums.device)
    for images, targets in loader:
        targets = targets.to(sums.device)
        sums.index_add_(0, targets, images.to(sums.device).flatten(1))
        counts += torch.bincount(targets, minlength=CLASSES).unsqueeze(1)
    model.centroids.copy_(sums / counts)
