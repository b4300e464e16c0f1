"""The command `pywatt compare`."""

import json
import math

import pytest
from fakes.profiles import CPU, profile, run

from pywatt import cli


@pytest.fixture
def saved(tmp_path):
    for name, energy_j in (("old", 50.0), ("same", 50.4), ("more", 60.0), ("more2", 60.4)):
        run(energy_j).save(f"{name}.json")
    profile(estimated=True, sensors=(CPU,)).save("estimated.json")
    run(None, None).save("unknown.json")
    (tmp_path / "broken.json").write_text("{")


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("old.json more.json", 0, "+20.0"),
        ("old.json more.json --fail-over 5%", 1, "REGRESSION in more.json: total +20.0 %"),
        ("old.json more.json --fail-over 19.9%", 0, "OK"),
        ("old.json more.json --fail-over 5% --run-spread 10%", 0, "OK"),
        ("old.json same.json --fail-over 0%", 0, "OK"),
        ("old.json same.json more.json --fail-over 5%", 1, "REGRESSION in more.json"),
        ("more.json old.json --fail-over 5%", 0, "OK"),
        ("old.json same.json --to more.json more2.json --fail-over 5%", 1, "more.json, more2.json"),
        ("old.json more.json --fail-over 50% --fail-layer-over 0%", 0, "OK"),
    ],
)
def test_the_command(arguments, status, words, capsys):
    assert cli.main(["compare", *arguments.split()]) == status
    assert words in capsys.readouterr().out


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("old.json", "two profiles or more"),
        ("old.json none.json", "none.json cannot be read: No such file"),
        ("old.json broken.json", "broken.json: not complete JSON"),
        ("old.json estimated.json", "cannot be compared"),
        ("old.json unknown.json --fail-over 5%", "cannot be judged"),
        ("old.json same.json --fail-layer-over 5%", "needs --fail-over"),
    ],
)
def test_the_command_says_what_it_cannot_do(arguments, words, capsys):
    assert cli.main(["compare", *arguments.split()]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("given", ["5", "0.05", "five%", "-1%", "nan%", "inf%"])
def test_a_limit_is_a_percentage(given, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["compare", "a", "b", f"--fail-over={given}"])
    assert exit_.value.code == 2
    assert "such as 5%" in capsys.readouterr().err


@pytest.mark.usefixtures("saved")
def test_the_command_as_json(capsys):
    assert cli.main(["compare", "old.json", "more.json", "--json", "--fail-over", "5%"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["per"] == "run"
    assert document["total"]["changes"] == [
        {
            "difference_j": 10.0,
            "difference_j_std": pytest.approx(math.sqrt(0.5)),
            "relative": 0.2,
            "z": pytest.approx(10.0 / math.sqrt(0.5)),
        }
    ]
    assert [one["name"] for one in document["layers"]] == ["", "body", "head"]
    assert [(one["type"], one["side"]) for one in document["regressions"]] == [("total", 1)]
    assert cli.main(["compare", "old.json", "more.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["regressions"] is None
