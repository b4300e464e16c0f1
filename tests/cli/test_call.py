import json
import sys
from pathlib import Path

import pytest

from pywatt import cli
from pywatt.calls.named import arguments_of, function_named, share_of

WORK = """
import time
from beside import NAP_S

seen = []

def nap(times=1, *, name="x"):
    seen.append((times, name))
    print("napping")
    for _ in range(times):
        time.sleep(NAP_S)

class Model:
    @staticmethod
    def run():
        nap()

def fails():
    raise RuntimeError("boom")

def later():
    yield nap()

constant = 3
"""

QUICK = ["--budget", "0.6", "--sensor", "cpu:estimated"]


@pytest.fixture(autouse=True)
def _work(tmp_path, monkeypatch):
    (tmp_path / "our_work.py").write_text(WORK)
    (tmp_path / "beside.py").write_text("NAP_S = 0.002\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.path", ["/nonexistent", *sys.path])
    for name in ("our_work", "beside"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("target", ["our_work:nap", "our_work.py:nap", "our_work:Model.run"])
def test_a_function_of_a_module_or_of_a_file(target, capsys):
    assert cli.main(["call", target, *QUICK]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("One call of ")
    assert "estimated" in shown.out
    # What the function prints does not come between the figures.
    assert "napping" not in shown.out
    assert "napping" in shown.err


def test_arguments_and_json(capsys):
    given = ["--arg", "2", "--arg", "name=[1, 'a']", "--target", "50%", "--json"]
    assert cli.main(["call", "our_work:nap", *given, *QUICK]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["function"] == "nap"
    assert found["estimated"] is True
    assert found["duration_s"] >= 0.004
    assert set(function_named("our_work:nap", folder=Path.cwd()).__globals__["seen"][0][1]) == {
        1,
        "a",
    }


def test_literals_and_text():
    assert arguments_of(["3", "x y", "a=1e-3", "b=text", "c==2", "None", "d="]) == (
        [3, "x y", "c==2", None],
        {"a": 1e-3, "b": "text", "d": ""},
    )


@pytest.mark.parametrize(("text", "share"), [("2%", 0.02), ("0.05", 0.05)])
def test_a_share(text, share):
    assert share_of(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["our_work"], "give module:function"),
        (["our_work:"], "give module:function"),
        (["nowhere:f"], "no module 'nowhere'"),
        (["nowhere.py:f"], "there is no file nowhere.py"),
        (["our_work:absent"], "it has nap, Model, fails, later"),
        (["our_work:constant"], "is int, which cannot be called"),
        (["our_work:nap", "--arg", "a=1", "--arg", "a=2"], "a is given twice"),
        (
            ["our_work:nap", "--arg", "often=3"],
            "nap(times=1, *, name='x') does not take these arguments",
        ),
        (["our_work:Model.run", "--arg", "3"], "too many positional arguments"),
        (["our_work:later"], "returns before its work is done"),
        (["our_work:nap", "--target", "much"], "give 2% or 0.02"),
        (["our_work:nap", "--budget", "0"], "above 0"),
        (["our_work:nap", "--sensor", "none"], "those that can be read"),
    ],
)
def test_errors_name_the_remedy(arguments, message, capsys):
    assert cli.main(["call", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_what_the_function_raises_propagates():
    with pytest.raises(RuntimeError, match="boom"):
        cli.main(["call", "our_work:fails", *QUICK])


def test_a_module_that_lacks_another_says_which(tmp_path):
    (tmp_path / "lacks.py").write_text("import absent_one\n")
    with pytest.raises(ModuleNotFoundError, match="absent_one"):
        function_named("lacks:f", folder=tmp_path)
