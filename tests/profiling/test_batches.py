"""What `profile` takes from a loader, and the accuracy over it."""

from collections import namedtuple

import pytest
import torch
from fakes.models import row, scripted
from torch import nn

import pywatt

Pair = namedtuple("Pair", ["image", "label"])
X = torch.ones(4, 8)


def test_the_warm_up_does_not_write_into_the_users_batch():
    seen = []
    model = nn.ReLU(inplace=True)
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    batch = -torch.ones(4, 8)
    pywatt.profile(model, [(batch, torch.zeros(4))], warmup=2, **scripted())
    assert all(torch.equal(x, -torch.ones(4, 8)) for x in seen)
    assert torch.equal(batch, torch.zeros(4, 8))  # as without profiling


@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_warm_up_is_not_measured_and_a_loader_is_read_once(warmup):
    taken = []

    def loader():
        for number in range(5):
            taken.append(number)
            yield X

    calls = []
    model = nn.Identity()
    model.register_forward_hook(lambda *_: calls.append(1))
    profile = pywatt.profile(model, loader(), warmup=warmup, max_batches=3, **scripted())
    assert taken == [0, 1, 2]
    assert profile.batches == row(profile, "").calls == 3
    assert len(calls) == 3 + warmup


def test_a_loader_with_worker_processes():
    dataset = torch.utils.data.TensorDataset(torch.arange(32.0).reshape(8, 4))
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=2)
    profile = pywatt.profile(nn.Linear(4, 4), loader, **scripted())
    assert (profile.batches, profile.samples) == (4, 8)


class TakesNames(nn.Module):
    def forward(self, image, label=None):
        return image


def encoding():
    transformers = pytest.importorskip("transformers")
    return transformers.BatchEncoding({"image": X, "label": torch.zeros(4)})


@pytest.mark.parametrize(
    "batch",
    [
        X,
        (X, torch.zeros(4)),
        [X, torch.zeros(4)],
        Pair(X, torch.zeros(4)),
        {"image": X, "label": torch.zeros(4)},
        ({"image": X}, torch.zeros(4)),
        encoding,
    ],
    ids=["tensor", "tuple", "list", "namedtuple", "mapping", "mapping in tuple", "encoding"],
)
def test_batches_of_every_kind(batch):
    batch = batch() if batch is encoding else batch
    seen = []
    model = TakesNames()
    model.register_forward_hook(lambda *_: seen.append(_[-1]))
    profile = pywatt.profile(model, [batch, batch], device="cpu", **scripted())
    assert all(torch.equal(output, X) for output in seen)
    assert profile.samples == 8


def test_forward_gets_the_model_and_the_batch_as_it_was():
    seen = []

    def forward(model, batch):
        seen.append((type(batch), torch.is_grad_enabled()))
        return model(batch.image)

    profile = pywatt.profile(TakesNames(), [Pair(X, 1)], forward=forward, **scripted(warmup=1))
    assert seen == [(Pair, True), (Pair, True)]
    assert row(profile, "").calls == 1


def test_a_packed_sequence_keeps_its_type():
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 4), torch.ones(2, 4)])
    lstm = nn.LSTM(4, 4)
    profile = pywatt.profile(lstm, [packed], forward=lambda m, b: m(b), **scripted())
    assert row(profile, "").calls == 1


def test_a_packed_sequence_is_one_input_of_so_many_sequences():
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 4), torch.ones(2, 4)])
    seen = []
    lstm = nn.LSTM(4, 4)
    lstm.register_forward_hook(lambda module, given, output: seen.append(type(given[0])))
    assert pywatt.profile(lstm, [packed], **scripted(warmup=1)).samples == 2
    assert seen == [nn.utils.rnn.PackedSequence] * 2


def test_a_batch_without_one_shape_is_counted_and_described():
    nested = torch.nested.nested_tensor([torch.ones(3), torch.ones(2)])
    assert pywatt.profile(nn.Identity(), [nested], **scripted()).samples == 2
    with pytest.raises(pywatt.BatchError, match="a tensor of no single shape"):
        pywatt.profile(nn.Linear(4, 4), [nested], **scripted())


@pytest.mark.parametrize("error", [NotImplementedError, ValueError, OverflowError])
def test_a_loader_without_a_known_length(error):
    class Loader(list):
        def __len__(self):
            raise error

    assert pywatt.profile(nn.Identity(), Loader([X, X]), **scripted()).batches == 2


def answers(output=None, targets=(0, 1, 2, 3)):
    """Batches whose top-1 accuracy with nn.Identity is 3/4."""
    logits = torch.eye(4, 5)[[0, 1, 2, 0]] if output is None else output
    return [(logits, torch.tensor(targets))] * 2


@pytest.mark.parametrize(
    ("batches", "accuracy", "expected"),
    [
        (answers(), "auto", 0.75),
        (answers(), None, None),
        (answers(), lambda output, batch: 0.5, 0.5),
        (answers(targets=[0.0, 1.0, 2.0, 3.0]), "auto", None),
        (answers(torch.ones(4, 3, 5)), "auto", None),  # logits of a language model
        (answers(targets=[[0], [1], [2], [0]]), "auto", None),  # its targets
        (answers(torch.ones(4, 1)), "auto", None),
        ([X, X], "auto", None),
    ],
)
def test_accuracy(batches, accuracy, expected):
    profile = pywatt.profile(nn.Identity(), batches, accuracy=accuracy, **scripted())
    assert profile.accuracy == expected
    assert not [note for note in profile.notes if "accuracy" in note]


@pytest.mark.parametrize(
    ("accuracy", "targets", "said"),
    [
        (lambda *_: float("nan"), (0, 1, 2, 3), "returned nan"),
        (lambda *_: 1.5, (0, 1, 2, 3), "returned 1.5"),
        (lambda *_: 1 / 0, (0, 1, 2, 3), "ZeroDivisionError"),
        ("auto", (0, 1, 2, 9), "outside of the model's 5 classes"),
    ],
)
def test_an_accuracy_that_cannot_be_is_left_out_and_said(accuracy, targets, said):
    batches = answers(targets=targets)
    profile = pywatt.profile(nn.Identity(), batches, accuracy=accuracy, **scripted())
    assert profile.accuracy is None
    assert profile.score is None
    assert said in " ".join(profile.notes)
    assert "accuracy" in str(profile)


@pytest.mark.parametrize(
    ("output", "targets"),
    [
        (X, torch.zeros(4, dtype=torch.uint16)),
        (X, torch.zeros(4, dtype=torch.long).to_sparse()),
        (X.to(torch.float8_e4m3fn), torch.zeros(4, dtype=torch.long)),
        (X.to_sparse(), torch.zeros(4, dtype=torch.long)),
        (X.to("meta"), torch.zeros(4, dtype=torch.long)),
    ],
)
def test_what_cannot_be_compared_has_no_accuracy_and_does_not_end_the_run(output, targets):
    profile = pywatt.profile(
        nn.Identity(), [(X, targets)], forward=lambda model, batch: output, **scripted()
    )
    assert profile.accuracy is None
    assert any("accuracy is unavailable" in note for note in profile.notes)
