import csv
import gc
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timed_models import POWER_W, clock, sensor, told

import pywatt
from pywatt import cli
from pywatt.calls.named import function_named
from pywatt.errors import StudyError
from pywatt.renderers.study import render
from pywatt.renderers.study_files import to_csv
from pywatt.scores.footprint import Factors
from pywatt.study.api import MOST_DEATHS, table_of
from pywatt.study.claims import claimant

HEAD = 'name = "timed"\ndata = "timed_models:loaders"\nrate_hz = 100\n'
RECIPE = """
[training]
epochs = 2
optimizer = { call = "torch.optim:SGD", lr = 0.0 }
"""


def a_model(name, /, factory="model", more="", **arguments):
    given = "".join(f", {key} = {json.dumps(argument)}" for key, argument in arguments.items())
    call = f'{{ call = "timed_models:{factory}"{given} }}'
    return f'\n[[models]]\nname = "{name}"\nfactory = {call}\n{more}\n'


GOOD = a_model("good", share=0.75)
CHEAP = a_model("cheap", share=0.5, sample_s=0.125)


@pytest.fixture(autouse=True, scope="module")
def _imported_modules_are_not_searched_for_garbage():
    """A study collects garbage after each run, which would take most of the time of a short one."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def study(text, name="study.toml", **options):
    Path(name).write_text(text)
    return pywatt.Study(name, **{"sensors": sensor(), "clock": clock} | options)


def run(text, **options):
    return study(text).run(progress=False, **options)


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


def test_several_machines_and_devices_are_told_apart(monkeypatch):
    monkeypatch.setenv("PYWATT_MACHINE", "first")
    run(HEAD + GOOD)
    monkeypatch.setenv("PYWATT_MACHINE", "second")
    study(HEAD + GOOD, "other.toml").run(progress=False)
    assert pywatt.study.public.merge("study.db", ["other.db"]).added == 1
    names = [model.name for model in study(HEAD + GOOD).table().models]
    assert names == ["good at first", "good at second"]
    # A device that is not there fails by itself.
    table = run('devices = ["cpu", "cuda:99"]\n' + HEAD + CHEAP)
    assert [model.name for model in table.models] == ["cheap on cpu", "cheap on cuda:99"]
    assert [model.runs for model in table.models] == [1, 0]


def test_inference_only_and_a_training_of_its_own():
    own = a_model("own", share=1.0, more='fit = "timed_models:fit"')
    untrained = a_model("untrained", share=0.5, more='training = "inference only"')
    first, second = run(HEAD + RECIPE + own + untrained).records
    assert (first.train_energy_j, first.epochs) == (pytest.approx(4.0 * POWER_W), None)
    assert (second.train_energy_j, second.train_duration_s) == (None, None)
    alone = run(HEAD.replace("loaders", "test_only") + GOOD, retry=True)
    assert alone.records[0].accuracy == 0.75


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


def test_what_is_done_is_not_done_again():
    models = "".join(a_model(name, "logged", name=name, share=0.5) for name in "abc")
    first = run(HEAD + models)
    again = run(HEAD + models + a_model("d", "logged", name="d", share=0.25))
    assert Path("built.log").read_text().split() == list("abcd")
    assert again.records[:3] == first.records
    assert [model.name for model in again.models] == list("abcd")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"factory": "fails"}, "RuntimeError: no such weights"),
        ({"factory": "fails_in_forward"}, "RuntimeError: mat1 and mat2"),
        ({"factory": "no_module"}, "gave str: it must give a torch module"),
        ({"factory": "model", "depth": 3}, "TypeError"),
        ({"more": 'fit = "timed_models:fails"', "share": 0.5}, "no such weights"),
        ({"factory": "leaves"}, "SystemExit: 0"),
        ({"more": 'fit = "timed_models:leaves"', "share": 0.5}, "SystemExit: 0"),
        ({"factory": "fails_untold"}, "UntoldError: its text cannot be told"),
        ({"factory": "fails_with_half_a_character"}, r"OSError: no file caf\udce9"),
    ],
)
def test_a_model_that_fails_says_why_and_the_others_are_there(broken, why):
    text = HEAD + a_model("broken", **broken) + GOOD
    table = run(text)
    bad, good = table.models
    assert why in bad.errors[0]
    assert (bad.row.accuracy, bad.row.test_energy_j, bad.runs) == (None, None, 0)
    assert good.row.test_energy_j == pytest.approx(3.0 * POWER_W)
    assert [standing.name for standing in table.ranking.standings] == ["good"]
    assert f"broken failed: {bad.errors[0]}" in table.notes
    shown = " ".join(str(table).split())
    assert "broken failed" in shown
    assert study(text).table().models == table.models


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        ("timed_models:one_and_a_half", "returned 1.5; it must return"),
        ('{ call = "timed_models:OverAll", gives = -0.5 }', "gave -0.5; it must give"),
        ('{ call = "timed_models:OverAll", gives = nan }', "gave nan"),
        ("timed_models:NoCompute", "no compute()"),
        ("timed_models:fails", "no such weights"),
    ],
)
def test_a_metric_that_gives_no_share_is_told(metric, why):
    given = metric if metric.startswith("{") else f'"{metric}"'
    table = run(f"metric = {given}\n" + HEAD + GOOD + CHEAP)
    assert all(why in model.errors[0] for model in table.models)
    assert table.ranking is None
    assert "n/a" in str(table)


def test_metrics_of_the_whole_test_and_with_arguments():
    whole = run('metric = "timed_models:OverAll"\n' + HEAD + GOOD).models[0].row
    assert (whole.accuracy, whole.accuracy_std) == (0.75, 0.03125)
    halved = 'metric = { call = "timed_models:share_right", most = 0.5 }\n' + HEAD + GOOD
    assert run(halved).models[0].row.accuracy == 0.375


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
    own = 'forward = "timed_models:own_loss"\n' + HEAD + recipe + 'loss = "of the model"\n'
    table = run('metric = "timed_models:OverAll"\n' + own + GOOD)
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
    assert "20 s (extrapolated)" in shown
    assert "2 of 10" in shown
    footprint = render(table, factors=Factors(pue=1.0, kg_per_kwh=0.9))
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + a_model("a", "absent"), ["line 7", "models[1].factory", "has no 'absent'"]),
        (HEAD.replace("loaders", "absent") + GOOD, ["line 2", "data", "has no 'absent'"]),
        (HEAD.replace("timed_models:", "nowhere.py:") + GOOD, ["data", "no file nowhere.py"]),
        (HEAD.replace("timed_models:", "nowhere:") + GOOD, ["data", "no module 'nowhere'"]),
        (HEAD + RECIPE.replace("SGD", "Adm") + GOOD, ["line 7", "optimizer", "no 'Adm'"]),
        ('devices = "gpu"\n' + HEAD + GOOD, ["devices", "torch knows no 'gpu'", '"cuda:0"']),
    ],
)
def test_what_does_not_exist_is_told_before_anything_runs(text, words):
    with pytest.raises(StudyError) as raised:
        run(text)
    for word in ["study.toml", *words]:
        assert word in str(raised.value)
    assert not Path("study.db").exists()


def test_a_sensor_that_is_not_here_fails_no_run():
    with pytest.raises(pywatt.ArgumentError, match="no sensor 'absent' here"):
        study(HEAD + GOOD, sensors=["absent"]).run(progress=False)
    assert not Path("study.db").exists()


def test_a_module_that_cannot_be_imported_fails_its_own_runs_only():
    Path("needs.py").write_text("import nothing_like_this\n")
    broken = '[[models]]\nname = "broken"\nfactory = "needs.py:model"\n'
    bad, good = run(HEAD + broken + GOOD).models
    assert "No module named 'nothing_like_this' (needs.py:1)" in bad.errors[0]
    assert good.runs == 1


def test_a_script_that_reads_its_command_line_fails_its_own_runs_only(capsys):
    script = "import argparse\n\nargparse.ArgumentParser().parse_args(['--absent'])\n"
    Path("script.py").write_text(script)
    broken = '[[models]]\nname = "broken"\nfactory = "script.py:model"\n'
    bad, good = run(HEAD + broken + GOOD).models
    assert bad.errors == ("SystemExit: 2 (script.py:3)",)
    assert good.runs == 1
    assert cli.main(["study", "run", "study.toml"]) == 1
    assert "broken failed: SystemExit: 2" in " ".join(capsys.readouterr().out.split())


def test_files_are_looked_for_beside_the_study(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "own_model.py").write_text("from timed_models import model\n")
    text = HEAD + '[[models]]\nname = "own"\nfactory = { call = "own_model.py:model", share = 1 }\n'
    assert study(text, str(folder / "study.toml")).run(progress=False).models[0].runs == 1
    assert (folder / "study.db").exists()


def test_ctrl_c_keeps_what_is_done_and_goes_on_later():
    text = HEAD + GOOD + a_model("late", "interrupted_once", share=0.5)
    with pytest.raises(KeyboardInterrupt):
        run(text)
    part = study(text).table()
    assert [model.runs for model in part.models] == [1, 0]
    assert "late: 0 of 1 runs are done" in part.notes
    whole = run(text)
    assert whole.records[0] == part.records[0]
    assert [model.runs for model in whole.models] == [1, 1]


def test_the_command_says_that_ctrl_c_has_cost_nothing(capsys):
    Path("study.toml").write_text(HEAD + a_model("late", "interrupted_once", share=0.5))
    assert cli.main(["study", "run", "study.toml"]) == 130
    assert "what was finished is kept" in capsys.readouterr().err


def test_a_model_that_changes_the_directory_hides_no_claim(tmp_path):
    broken = '[[models]]\nname = "broken"\nfactory = "broken.py:model"\n'
    Path("broken.py").write_text("def model():\n    raise ValueError('no')\n")
    text = HEAD + a_model("moves", "moves", share=0.75) + GOOD + broken
    both = study(text)
    with (
        pywatt.study.store.Store(tmp_path / "study.db", create=True) as store,
        claimant(tmp_path / "study.db") as other,
    ):
        assert store.claim(both.settings.runs()[1].key, other, most_deaths=MOST_DEATHS) == 0
        table = both.run(progress=False)
    assert Path.cwd() == tmp_path / "elsewhere"
    assert "1 run is being done by another process" in table.notes
    assert [model.runs for model in table.models] == [1, 0, 0]
    assert table.models[2].errors == ("ValueError: no (broken.py:2)",)
    names = {entry.name for entry in tmp_path.iterdir()} - {"__pycache__"}
    assert names == {"study.toml", "study.db", "broken.py", "elsewhere"}
    assert [model.runs for model in both.table().models] == [1, 0, 0]


def test_failures_are_tried_again_when_asked():
    text = HEAD + a_model("late", "stuck_once", share=0.5)
    Path("reached").touch()
    whole = study(text)
    with pywatt.study.store.Store(Path("study.db"), create=True) as store:
        key = whole.settings.runs()[0].key
        for deaths in range(MOST_DEATHS):
            assert store.claim(key, "dead", most_deaths=MOST_DEATHS) == deaths
    assert "3 processes have died in it" in whole.run(progress=False).models[0].errors[0]
    assert whole.run(progress=False).models[0].runs == 0
    again = whole.run(retry=True, progress=False).models[0]
    assert (again.runs, again.errors) == (1, ())


def test_a_retry_on_a_merged_file_leaves_the_rows_of_other_machines(monkeypatch):
    text = HEAD + a_model("late", "logged", name="late", share=0.5)
    monkeypatch.setenv("PYWATT_MACHINE", "second")
    study(text, "other.toml").run(progress=False)
    here = study(text)
    monkeypatch.setenv("PYWATT_MACHINE", "first")
    with pywatt.study.store.Store(here.results, create=True) as store:
        (there,) = table_of("other.db").records
        store.finish(replace(there, machine="first", accuracy=None, error="no memory"))
    pywatt.study.public.merge("study.db", ["other.db"])
    assert [model.runs for model in here.run(progress=False).models] == [0, 1]
    again = here.run(retry=True, progress=False)
    assert [(m.name, m.runs) for m in again.models] == [("late at first", 1), ("late at second", 1)]
    assert again.records[1] == there
    assert Path("built.log").read_text().split() == ["late"] * 2


def test_a_full_disk_ends_the_study_and_keeps_what_is_done():
    text = HEAD + GOOD + CHEAP
    run(HEAD + GOOD)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StudyError, match=r"study\.db: .*; free space on its disk"):
            run(text)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handled)
    assert [model.runs for model in study(text).table().models] == [1, 0]
    assert [model.runs for model in run(text).models] == [1, 1]


RUNS = """
import sys
import pywatt
from timed_models import clock, sensor, told

print(told(pywatt.Study(sys.argv[1], sensors=sensor(), clock=clock).run(progress=False)))
"""


def start(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "study.toml").write_text(text)
    (folder / "runs.py").write_text(RUNS)
    tests = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "runs.py", "study.toml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": tests},
        stdout=subprocess.PIPE,
        text=True,
    )


def finished(process):
    printed, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(printed.splitlines()[-1])


@pytest.mark.slow
def test_kill_9_and_resume_gives_the_same_table(tmp_path):
    logged = "".join(a_model(name, "logged", name=name, share=0.75) for name in "ab")
    broken = a_model("broken", "fails")
    stuck = a_model("stuck", "stuck_once", share=0.25)
    text = "seeds = [0, 1]\n" + HEAD + RECIPE + logged + broken + stuck + CHEAP
    # Two processes share it: one does not come back from a run, the other does all that is left.
    shared = tmp_path / "shared"
    both = [start(shared, text) for _ in range(2)]
    while all(process.poll() is None for process in both):
        time.sleep(0.01)
    (dead,) = (process for process in both if process.poll() is None)
    (other,) = (process for process in both if process is not dead)
    left = finished(other)
    assert "1 run is being done by another process" in left["notes"]
    assert [model["runs"] for model in left["models"]] == [2, 2, 0, 1, 2]
    dead.kill()
    dead.communicate()
    assert len(table_of(shared / "study.db").records) == 9
    resumed = finished(start(shared, text))
    Path("reached").touch()
    assert resumed == json.loads(told(run(text)))
    assert [model["runs"] for model in resumed["models"]] == [2, 2, 0, 2, 2]
    assert sorted((shared / "built.log").read_text().split()) == ["a", "a", "b", "b"]
    names = {entry.name for entry in shared.iterdir()} - {"__pycache__"}
    assert names == {"study.toml", "runs.py", "study.db", "reached", "built.log"}


def test_one_that_another_beats_is_never_first():
    worse = a_model("worse", share=0.25, sample_s=4.0)
    table = run(HEAD + worse + GOOD + CHEAP)
    assert table.standing("worse").dominated_by == ("good",)
    assert set(table.standing("worse").first_shares) <= {0.0, None}
    assert table.ranking.standings[-1].name == "worse"


def test_the_table_shows_all_of_it():
    table = run(HEAD + RECIPE + GOOD + CHEAP)
    shown = str(table)
    assert shown.startswith("timed · MEASURED with scripted")
    for words in (
        "0.7500 ± 0.1166",  # sqrt(10 / 14 * 4 / 14 / 15)
        "256 J",  # training
        "192 J",  # test
        "16 J",  # per sample
        "21.33 J",  # per correct answer
        "not def.",
        "Score in J",
        "Score in kWh",
        "Kendall's tau",
        "1 of 1",
        "3 s",
    ):
        assert words in shown, words
    (line,) = [row for row in shown.splitlines() if row.startswith("good") and "1st" not in row][:1]
    assert "*" in line  # on the front
    assert "CO2e" not in shown


def test_commands_run_show_and_export(capsys):
    Path("study.toml").write_text(HEAD + GOOD + a_model("broken", "fails"))
    study(HEAD + GOOD + a_model("broken", "fails")).run(progress=False)
    assert cli.main(["study", "run", "study.toml"]) == 1  # nothing left to do, but one failed
    ran = capsys.readouterr().out
    assert cli.main(["study", "show", "study.toml"]) == 0
    assert capsys.readouterr().out == ran
    assert cli.main(["study", "show", "study.db"]) == 0
    assert "good" in capsys.readouterr().out
    factors = ["--kg-per-kwh", "0.5", "--price-per-kwh", "0.3", "--pue", "1.2"]
    assert cli.main(["study", "show", "study.toml", *factors]) == 0
    # A million samples of 16 J are 40 / 9 kWh
    assert "2,667 g" in (shown := capsys.readouterr().out)
    assert "1.6" in shown
    names = ["out.csv", "out.json", "out.md"]
    assert cli.main(["study", "export", "study.toml", *names, *factors]) == 0
    with Path("out.csv").open() as file:
        good, broken = csv.DictReader(file)
    assert (good["model"], good["rank"], good["pareto_front"]) == ("good", "1", "True")
    assert float(good["sample_energy_j"]) == pytest.approx(16.0)
    assert float(good["test_emissions_kg"]) == pytest.approx(192 / 3.6e6 * 0.5 * 1.2)
    assert (broken["accuracy"], broken["sam"]) == ("", "")
    assert "no such weights" in broken["errors"]
    exported = json.loads(Path("out.json").read_text())
    assert exported["models"][0]["sample_energy_j"] == pytest.approx(16.0)
    assert exported["runs"][1]["error"].startswith("RuntimeError: no such weights")
    assert exported["ranking"]["standings"][0]["name"] == "good"
    assert "| good | 1\\* |" in Path("out.md").read_text()
    assert cli.main(["study", "export", "study.toml", "pictures/"]) == 0
    pictures = {f"{name}{dark}.png" for name in ("accuracy", "energy", "score", "ranks")
                for dark in ("", "-dark")}  # fmt: skip
    assert {entry.name for entry in Path("pictures").iterdir()} == pictures
    assert cli.main(["study", "export", "study.toml", "drawings/", "--svg"]) == 0
    drawings = {name.replace(".png", ".svg") for name in pictures}
    assert {entry.name for entry in Path("drawings").iterdir()} == drawings


def test_results_are_shown_without_torch():
    run(HEAD + GOOD)
    code = (
        "import sys; from pywatt import cli; cli.main(['study', 'show', 'study.toml']); "
        "print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "good" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "False"


def test_a_model_that_was_changed_between_runs_is_two_in_the_file():
    run("seeds = [0, 1]\n" + HEAD + GOOD + CHEAP)
    changed = HEAD + a_model("good", share=0.25)
    assert [(m.name, m.runs, m.row.accuracy) for m in run(changed).models] == [("good", 1, 0.25)]
    models = table_of("study.db").models
    assert {model.name for model in models} == {"cheap", "good (setup 1)", "good (setup 2)"}
    found = sorted((model.runs, model.row.accuracy) for model in models)
    assert found == [(1, 0.25), (2, 0.5), (2, 0.75)]


def test_commands_merge(capsys):
    study(HEAD + GOOD + CHEAP, "a.toml").run(progress=False)
    study(HEAD + GOOD + a_model("third", share=0.25), "b.toml").run(progress=False)
    with pywatt.study.store.Store(Path("b.db")) as store:
        # Another time or peak of memory would do, but two quick runs may agree in all.
        store.connection.execute("UPDATE runs SET test_energy_j = 1.0 WHERE model = 'good'")
    assert cli.main(["study", "merge", "all.db", "a.db", "b.db"]) == 0
    told = "all.db: 3 runs added, 1 were there with other results, which stay.\n"
    assert capsys.readouterr().out == told
    assert sorted(model.name for model in table_of("all.db").models) == ["cheap", "good", "third"]
    assert cli.main(["study", "show", "a.toml", "--results", "all.db"]) == 0
    assert "third" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run absent.toml", "absent.toml cannot be read"),
        ("show absent.db", "there is no absent.db"),
        ("show study.toml", "study.db: run the study first"),
        ("show study.toml --kg-per-kwh 1", "give --pue too"),
        ("show study.toml --pue 1", "--kg-per-kwh or --price-per-kwh"),
        ("show study.toml --pue 0.5 --price-per-kwh 1", "pue must be 1 or more"),
        ("show study.db --results other.db", "the results file alone"),
    ],
)
def test_commands_say_what_is_wrong(arguments, words, capsys):
    Path("study.toml").write_text(HEAD + GOOD)
    assert cli.main(["study", *arguments.split()]) == 2
    assert words in capsys.readouterr().err


def test_an_export_of_another_kind_is_refused(capsys):
    run(HEAD + GOOD)
    assert cli.main(["study", "export", "study.toml", "out.xlsx"]) == 2
    assert "must end in .csv, .json, .md" in capsys.readouterr().err


def test_nothing_done_is_no_table_of_zeros():
    run(HEAD + GOOD)
    Path("study.toml").write_text(HEAD + CHEAP)
    table = pywatt.Study("study.toml").table()
    assert (table.models[0].row.test_energy_j, table.ranking) == (None, None)
    assert "cheap: 0 of 1 runs are done" in table.notes
    assert "ENERGY UNAVAILABLE" in str(table)
