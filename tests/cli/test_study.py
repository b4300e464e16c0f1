"""The command `pywatt study`."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.timed_studies import CHEAP, GOOD, HEAD, a_model, run, study

from pywatt import cli
from pywatt.study.api import table_of
from pywatt.study.store import Store

pytestmark = pytest.mark.usefixtures("frozen_garbage")


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


def test_the_command_says_that_ctrl_c_has_cost_nothing(capsys):
    Path("study.toml").write_text(HEAD + a_model("late", "interrupted_once", share=0.5))
    assert cli.main(["study", "run", "study.toml"]) == 130
    assert "finished runs are kept" in capsys.readouterr().err


def test_results_are_shown_without_torch():
    run(HEAD + GOOD)
    code = (
        "import sys; from pywatt import cli; cli.main(['study', 'show', 'study.toml']); "
        "print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "good" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "False"


def test_commands_merge(capsys):
    study(HEAD + GOOD + CHEAP, "a.toml").run(progress=False)
    study(HEAD + GOOD + a_model("third", share=0.25), "b.toml").run(progress=False)
    with Store(Path("b.db")) as store:
        # Another time or peak of memory would do, but two quick runs may agree in all.
        store.connection.execute("UPDATE runs SET test_energy_j = 1.0 WHERE model = 'good'")
    assert cli.main(["study", "merge", "all.db", "a.db", "b.db"]) == 0
    merged = "all.db: 3 runs added, 1 present with other results, which are kept.\n"
    assert capsys.readouterr().out == merged
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
