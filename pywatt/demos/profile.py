"""The demonstration: a small network, trained and profiled on real data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pywatt.errors import PywattError

SEED = 0
EPOCHS = 10
TRAINING_BATCH = 64
BATCH = 75
PROFILE_S = 3.0


@dataclass(frozen=True, slots=True)
class Demo:
    """A trained network and the test images."""

    model: Any
    batches: list[tuple[Any, Any]]
    training_images: int
    test_images: int
    training_s: float


def train(*, progress: bool | None = None) -> Demo:
    """Train a small CNN on three quarters of scikit-learn's digits, with a fixed seed.

    Args:
        progress: show a progress bar; None: only in a terminal.

    Raises:
        PywattError: scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise PywattError(
            f"the demo needs scikit-learn ({error}): pip install 'pywatt[demo]'"
        ) from error
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    from pywatt.support.progress import progress_bar

    digits = load_digits()
    images = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
    targets = torch.tensor(digits.target)
    seen, unseen = train_test_split(
        range(len(targets)), test_size=0.25, random_state=SEED, stratify=digits.target
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    training = TensorDataset(images[seen].to(device), targets[seen].to(device))
    test = TensorDataset(images[unseen], targets[unseen])
    start_s = time.monotonic()
    with torch.random.fork_rng(), one_thread():
        torch.manual_seed(SEED)
        model = digit_net().to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
        loss_of = nn.CrossEntropyLoss()
        loader = DataLoader(training, batch_size=TRAINING_BATCH, shuffle=True)
        with progress_bar("training", EPOCHS * len(loader), progress) as advance:
            for _ in range(EPOCHS):
                for inputs, wanted in loader:
                    optimizer.zero_grad()
                    loss_of(model(inputs), wanted).backward()
                    optimizer.step()
                    advance()
        batches = [(inputs, wanted) for inputs, wanted in DataLoader(test, batch_size=BATCH)]
    return Demo(
        model=model.eval(),
        batches=batches,
        training_images=len(seen),
        test_images=len(unseen),
        training_s=time.monotonic() - start_s,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one torch thread: more do not speed up such a small network, and slow a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def digit_net() -> Any:
    """Return an untrained CNN for images of 8 x 8 pixels."""
    from torch import nn

    class DigitNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            self.classifier = nn.Sequential(
                nn.Flatten(), nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10)
            )

        def forward(self, images: Any) -> Any:
            return self.classifier(self.features(images))

    return DigitNet()


def passes(demo: Demo, duration_s: float = PROFILE_S) -> Iterator[tuple[Any, Any]]:
    """Yield the test batches in whole passes, until about `duration_s` has passed."""
    end_s = time.monotonic() + duration_s
    while True:
        yield from demo.batches
        if time.monotonic() >= end_s:
            return
