"""Studies that are interrupted, shared by processes, tried again and changed."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.timed_models import as_text
from fakes.timed_studies import CHEAP, GOOD, HEAD, RECIPE, a_model, run, study

from pywatt.errors import StudyError
from pywatt.study.api import MAX_DEATHS, merge, table_of
from pywatt.study.claims import claimant
from pywatt.study.store import Store

pytestmark = pytest.mark.usefixtures("own_folder", "frozen_garbage")


def test_what_is_done_is_not_done_again():
    models = "".join(a_model(name, "logged", name=name, share=0.5) for name in "abc")
    first = run(HEAD + models)
    again = run(HEAD + models + a_model("d", "logged", name="d", share=0.25))
    assert Path("built.log").read_text().split() == list("abcd")
    assert again.records[:3] == first.records
    assert [model.name for model in again.models] == list("abcd")


def test_several_machines_and_devices_are_distinct(monkeypatch):
    monkeypatch.setenv("PYWATT_MACHINE", "first")
    run(HEAD + GOOD)
    monkeypatch.setenv("PYWATT_MACHINE", "second")
    study(HEAD + GOOD, "other.toml").run(progress=False)
    assert merge("study.db", ["other.db"]).added == 1
    names = [model.name for model in study(HEAD + GOOD).table().models]
    assert names == ["good at first", "good at second"]
    # A device that is not there fails by itself.
    table = run('devices = ["cpu", "cuda:99"]\n' + HEAD + CHEAP)
    assert [model.name for model in table.models] == ["cheap on cpu", "cheap on cuda:99"]
    assert [model.runs for model in table.models] == [1, 0]


def test_ctrl_c_keeps_what_is_done_and_resumes_later():
    text = HEAD + GOOD + a_model("late", "interrupted_once", share=0.5)
    with pytest.raises(KeyboardInterrupt):
        run(text)
    part = study(text).table()
    assert [model.runs for model in part.models] == [1, 0]
    assert "late: 0 of 1 runs are done" in part.notes
    whole = run(text)
    assert whole.records[0] == part.records[0]
    assert [model.runs for model in whole.models] == [1, 1]


def test_a_model_that_changes_the_directory_hides_no_claim(tmp_path):
    broken = '[[models]]\nname = "broken"\nfactory = "broken.py:model"\n'
    Path("broken.py").write_text("def model():\n    raise ValueError('no')\n")
    text = HEAD + a_model("moves", "moves", share=0.75) + GOOD + broken
    both = study(text)
    with (
        Store(tmp_path / "study.db", create=True) as store,
        claimant(tmp_path / "study.db") as other,
    ):
        assert store.claim(both.settings.runs()[1].key, other, max_deaths=MAX_DEATHS) == 0
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
    with Store(Path("study.db"), create=True) as store:
        key = whole.settings.runs()[0].key
        for deaths in range(MAX_DEATHS):
            assert store.claim(key, "dead", max_deaths=MAX_DEATHS) == deaths
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
    with Store(here.results, create=True) as store:
        (there,) = table_of("other.db").records
        store.finish(replace(there, machine="first", accuracy=None, error="no memory"))
    merge("study.db", ["other.db"])
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
from fakes.timed_models import clock, sensor, as_text

print(as_text(pywatt.Study(sys.argv[1], sensors=sensor(), clock=clock).run(progress=False)))
"""


def start(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "study.toml").write_text(text)
    (folder / "runs.py").write_text(RUNS)
    tests = str(Path(__file__).parents[1])
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
    assert resumed == json.loads(as_text(run(text)))
    assert [model["runs"] for model in resumed["models"]] == [2, 2, 0, 2, 2]
    assert sorted((shared / "built.log").read_text().split()) == ["a", "a", "b", "b"]
    names = {entry.name for entry in shared.iterdir()} - {"__pycache__"}
    assert names == {"study.toml", "runs.py", "study.db", "reached", "built.log"}


def test_a_model_that_was_changed_between_runs_is_two_in_the_file():
    run("seeds = [0, 1]\n" + HEAD + GOOD + CHEAP)
    changed = HEAD + a_model("good", share=0.25)
    assert [(m.name, m.runs, m.row.accuracy) for m in run(changed).models] == [("good", 1, 0.25)]
    models = table_of("study.db").models
    assert {model.name for model in models} == {"cheap", "good (setup 1)", "good (setup 2)"}
    found = sorted((model.runs, model.row.accuracy) for model in models)
    assert found == [(1, 0.25), (2, 0.5), (2, 0.75)]
