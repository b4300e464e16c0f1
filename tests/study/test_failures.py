"""What fails in a study, and what does not exist."""

from pathlib import Path

import pytest
from fakes.timed_models import POWER_W
from fakes.timed_studies import GOOD, HEAD, RECIPE, a_model, run, study

import pywatt
from pywatt import cli
from pywatt.errors import StudyError

pytestmark = pytest.mark.usefixtures("own_folder", "frozen_garbage")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"factory": "fails"}, "RuntimeError: no such weights"),
        ({"factory": "fails_in_forward"}, "RuntimeError: mat1 and mat2"),
        ({"factory": "no_module"}, "returned str: return a torch module"),
        ({"factory": "model", "depth": 3}, "TypeError"),
        ({"more": 'fit = "fakes.timed_models:fails"', "share": 0.5}, "no such weights"),
        ({"factory": "leaves"}, "SystemExit: 0"),
        ({"more": 'fit = "fakes.timed_models:leaves"', "share": 0.5}, "SystemExit: 0"),
        ({"factory": "fails_without_text"}, "NoTextError: its text is not available"),
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
    ("text", "words"),
    [
        (HEAD + a_model("a", "absent"), ["line 7", "models[1].factory", "has no 'absent'"]),
        (HEAD.replace("loaders", "absent") + GOOD, ["line 2", "data", "has no 'absent'"]),
        (HEAD.replace("fakes.timed_models:", "nowhere.py:") + GOOD, ["data", "no file nowhere.py"]),
        (HEAD.replace("fakes.timed_models:", "nowhere:") + GOOD, ["data", "no module 'nowhere'"]),
        (HEAD + RECIPE.replace("SGD", "Adm") + GOOD, ["line 7", "optimizer", "no 'Adm'"]),
        ('devices = "gpu"\n' + HEAD + GOOD, ["devices", "torch knows no 'gpu'", '"cuda:0"']),
    ],
)
def test_what_does_not_exist_is_an_error_before_anything_runs(text, words):
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
    (folder / "own_model.py").write_text("from fakes.timed_models import model\n")
    text = HEAD + '[[models]]\nname = "own"\nfactory = { call = "own_model.py:model", share = 1 }\n'
    assert study(text, str(folder / "study.toml")).run(progress=False).models[0].runs == 1
    assert (folder / "study.db").exists()
