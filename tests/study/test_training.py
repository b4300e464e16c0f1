"""How the models of a study are trained, and trainings that are extrapolated."""

import csv
from pathlib import Path

import pytest
from fakes.timed_models import POWER_W
from fakes.timed_studies import GOOD, HEAD, RECIPE, a_model, run

from pywatt.calls.named import function_named
from pywatt.renderers.study import render
from pywatt.renderers.study_files import to_csv
from pywatt.scores.footprint import Factors

pytestmark = pytest.mark.usefixtures("own_folder", "frozen_garbage")


def test_inference_only_and_a_training_of_its_own():
    own = a_model("own", share=1.0, more='fit = "fakes.timed_models:fit"')
    untrained = a_model("untrained", share=0.5, more='training = "inference only"')
    first, second = run(HEAD + RECIPE + own + untrained).records
    assert (first.train_energy_j, first.epochs) == (pytest.approx(4.0 * POWER_W), None)
    assert (second.train_energy_j, second.train_duration_s) == (None, None)
    alone = run(HEAD.replace("loaders", "test_only") + GOOD, retry=True)
    assert alone.records[0].accuracy == 0.75


NOTED = """
import torch

rates = []

def sgd(parameters, lr):
    optimizer = torch.optim.SGD(parameters, lr)
    optimizer.register_step_pre_hook(lambda one, *_: rates.append(one.param_groups[0]["lr"]))
    return optimizer
"""


def test_the_recipe_is_torchs_own():
    recipe = RECIPE.replace("lr = 0.0", "lr = 0.5") + (
        'scheduler = { call = "torch.optim.lr_scheduler:StepLR", step_size = 1, gamma = 0.5 }\n'
    )
    Path("noted.py").write_text(NOTED)
    rates = function_named("noted.py:sgd", folder=Path.cwd()).__globals__["rates"]
    recipe = recipe.replace("torch.optim:SGD", "noted.py:sgd")
    run(HEAD + recipe + GOOD)
    assert rates == [0.5, 0.5, 0.25, 0.25]
    rates.clear()
    run(HEAD + recipe + 'scheduler_steps = "batch"\n' + GOOD)
    assert rates == [0.5, 0.25, 0.125, 0.0625]
    rates.clear()
    # What calls the model, and a loss that the model gives itself.
    own = 'forward = "fakes.timed_models:own_loss"\n' + HEAD + recipe + 'loss = "of the model"\n'
    table = run('metric = "fakes.timed_models:OverAll"\n' + own + GOOD)
    assert len(rates) == 4
    assert table.models[0].errors == ()


def test_losses_of_torch_get_the_logits_of_an_output():
    table = run(HEAD + RECIPE + a_model("answering", "answering", share=0.75))
    assert table.models[0].errors == ()
    assert table.models[0].row.accuracy == 0.75
    assert table.models[0].row.train_energy_j == pytest.approx(4.0 * POWER_W)


def test_a_training_can_be_extrapolated():
    table = run(HEAD + RECIPE + "extrapolate_to = 10\n" + GOOD)
    (model,) = table.models
    assert (model.epochs, model.extrapolated_to) == (2, 10)
    assert model.row.train_energy_j == pytest.approx(10 * 2.0 * POWER_W)
    assert model.train_duration_s == pytest.approx(20.0)
    assert any("extrapolated, not measured: 2 of 10 epochs" in note for note in table.notes)
    assert any("accuracy is that after 2 epochs" in note for note in table.notes)
    shown = str(table)
    assert shown.startswith("timed · MEASURED, TRAINING EXTRAPOLATED with scripted\n")
    assert "1,280 J (extrapolated)" in shown
    assert "2 of 10" in shown
    assert "20 s (extrapolated)" in table.explain()
    footprint = render(table, 100, factors=Factors(pue=1.0, kg_per_kwh=0.9))
    assert "320 mg (extrapolated)" in footprint
    (exported,) = csv.DictReader(to_csv(table).splitlines())
    assert exported["origin"] == "measured, training extrapolated"
    # What is measured beside it is not marked, nor is an extrapolation to what was measured.
    both = run(
        HEAD + RECIPE + GOOD + a_model("more", share=0.5, more="training.extrapolate_to = 4")
    )
    assert str(both).startswith("timed · MEASURED, TRAINING PARTLY EXTRAPOLATED with scripted\n")
    assert [model.row.train_extrapolated for model in both.models] == [False, True]
    same = run(HEAD + RECIPE + "extrapolate_to = 2\n" + GOOD)
    assert "EXTRAPOLATED" not in str(same)
    assert "(extrapolated)" not in str(same)
