"""Characters of two modules of Python's standard library: real text that every machine has."""

import argparse
import inspect
import math
import textwrap

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

CHARACTERS = 128  # ASCII
LENGTH = 64


def loaders():
    """Return a loader of the first four fifths of the text, and one of the rest."""
    code = inspect.getsource(argparse) + inspect.getsource(textwrap)
    text = torch.tensor([min(ord(character), CHARACTERS - 1) for character in code])
    rows = text[: len(text) // (LENGTH + 1) * (LENGTH + 1)].reshape(-1, LENGTH + 1)
    cut = len(rows) * 4 // 5
    training, test = rows[:cut], rows[cut:]
    return (
        DataLoader(TensorDataset(training[:, :-1], training[:, 1:]), batch_size=32, shuffle=True),
        DataLoader(TensorDataset(test[:, :-1], test[:, 1:]), batch_size=32),
    )


def next_character_loss():
    """Return the mean negative log likelihood of the next character: (output, targets) -> loss."""
    return lambda output, targets: cross_entropy(output.flatten(0, 1), targets.flatten())


class InversePerplexity:
    """1 / perplexity of the whole test: the geometric mean of the characters' probabilities."""

    def __init__(self):
        self.nats, self.squares, self.count = 0.0, 0.0, 0

    def update(self, output, batch):
        """Add a batch: output of shape (samples, length, characters)."""
        targets = batch[1].flatten()
        nats = cross_entropy(output.flatten(0, 1), targets, reduction="none").double()
        self.nats += float(nats.sum())
        self.squares += float((nats**2).sum())
        self.count += len(targets)

    def compute(self):
        """Return 0 to 1; 1 if each next character is predicted with certainty."""
        return math.exp(-self.nats / self.count)

    def std(self):
        """Return the standard deviation, from how much the characters' likelihoods differ."""
        variance = self.squares / self.count - (self.nats / self.count) ** 2
        return self.compute() * math.sqrt(variance / self.count)


def token_accuracy(output, batch):
    """Return the share of the characters that are predicted correctly."""
    return (output.argmax(dim=-1) == batch[1]).float().mean()


def bigrams():
    """Predict the next character from the last one alone."""
    return nn.Embedding(CHARACTERS, CHARACTERS)


class Recurrent(nn.Module):
    """A gated recurrent unit."""

    def __init__(self, width):
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, width)
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, CHARACTERS)

    def forward(self, characters):
        """Return logits of shape (samples, length, characters)."""
        return self.head(self.recurrent(self.embedding(characters))[0])


class Transformer(nn.Module):
    """A decoder: no position sees what comes after it."""

    def __init__(self, width, depth):
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, width)
        self.places = nn.Parameter(0.02 * torch.randn(LENGTH, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, CHARACTERS)

    def forward(self, characters):
        """Return logits of shape (samples, length, characters)."""
        mask = nn.Transformer.generate_square_subsequent_mask(LENGTH, device=characters.device)
        seen = self.embedding(characters) + self.places
        return self.head(self.layers(seen, mask=mask, is_causal=True))
