"""What a run measures of a model, and the metrics of its answers."""

import math
import os

import pytest
import torch
from fakes.timed_models import POWER_W
from fakes.timed_studies import CHEAP, GOOD, HEAD, RECIPE, a_model, run

pytestmark = pytest.mark.usefixtures("own_folder", "frozen_garbage")


def test_every_figure_of_a_run_is_right():
    table = run(HEAD + RECIPE + GOOD)
    (record,) = table.records
    (result,) = table.models
    row = result.row
    # The test: 3 batches of 4 samples of 0.25 s; the training: 2 epochs of 2 such batches.
    assert record.test_duration_s == pytest.approx(3.0)
    assert record.test_energy_j == pytest.approx(3.0 * POWER_W)
    assert record.train_duration_s == pytest.approx(4.0)
    assert record.train_energy_j == pytest.approx(4.0 * POWER_W)
    assert (record.accuracy, record.samples, record.epochs) == (0.75, 12, 2)
    assert record.parameters == 1
    assert record.peak_memory_bytes > 10**6
    assert (record.device, record.machine) == ("cpu", os.uname().nodename)
    assert record.device_name
    assert (record.seed, record.repeat, record.error) == (0, 0, None)
    assert record.sensors == ("scripted",)
    assert not record.estimated
    assert record.versions["torch"] == torch.__version__
    assert (row.name, row.accuracy) == ("good", 0.75)
    assert row.accuracy_std == pytest.approx(math.sqrt(10 / 14 * 4 / 14 / 15))  # Laplace
    assert row.sample_energy_j == pytest.approx(0.25 * POWER_W)
    assert row.correct_energy_j == pytest.approx(0.25 * POWER_W / 0.75)
    assert (result.runs, result.wanted, result.errors) == (1, 1, ())
    assert any("one run only" in note for note in table.notes)


def test_seeds_and_repeats_give_the_spread():
    text = "seeds = [0, 1]\nrepeats = 2\n" + HEAD + a_model("random", factory="random_weights")
    table = run(text)
    accuracies = [record.accuracy for record in table.records]
    assert [(r.seed, r.repeat) for r in table.records] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert accuracies[0] == accuracies[1]  # the same seed, the same weights
    assert accuracies[2] == accuracies[3]
    row = table.models[0].row
    assert row.accuracy == pytest.approx(sum(accuracies) / 4)
    assert row.test_energy_j == pytest.approx(3.0 * POWER_W)
    assert table.models[0].runs == 4
    assert not any("one run only" in note for note in table.notes)


def test_random_states_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    run(HEAD + a_model("random", factory="random_weights"))
    assert torch.rand(1) == expected


def test_what_a_model_changes_of_torch_is_not_there_for_the_next():
    found = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()
    try:
        table = run(HEAD + RECIPE + a_model("changes", "changes_torch") + GOOD)
        left = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert left == found
    assert table.models[1].errors == ()
    assert table.models[1].row.train_energy_j == pytest.approx(4.0 * POWER_W)


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        ("fakes.timed_models:one_and_a_half", "returned 1.5; it must return"),
        ('{ call = "fakes.timed_models:OverAll", gives = -0.5 }', "returned -0.5: return a share"),
        ('{ call = "fakes.timed_models:OverAll", gives = nan }', "returned nan: return a share"),
        ("fakes.timed_models:NoCompute", "no compute()"),
        ("fakes.timed_models:fails", "no such weights"),
    ],
)
def test_a_metric_that_gives_no_share_is_an_error(metric, why):
    given = metric if metric.startswith("{") else f'"{metric}"'
    table = run(f"metric = {given}\n" + HEAD + GOOD + CHEAP)
    assert all(why in model.errors[0] for model in table.models)
    assert table.ranking is None
    assert "n/a" in str(table)


def test_metrics_of_the_whole_test_and_with_arguments():
    whole = run('metric = "fakes.timed_models:OverAll"\n' + HEAD + GOOD).models[0].row
    assert (whole.accuracy, whole.accuracy_std) == (0.75, 0.03125)
    halved = 'metric = { call = "fakes.timed_models:share_right", most = 0.5 }\n' + HEAD + GOOD
    assert run(halved).models[0].row.accuracy == 0.375
