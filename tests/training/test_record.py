"""Records of trainings: written while they run, continued after a restart, saved and loaded."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fakes.timed_training import STEP_J, STEP_S, Raises, Training, adds_up
from torch import nn

import pywatt
from pywatt.training.merge import merged


def test_a_restart_continues_the_record(tmp_path):
    """Three processes of one training, each from the checkpoint of the one before."""
    path = tmp_path / "train.json"
    first = Training(batches=4)
    with pytest.raises(RuntimeError) as raised:
        first.run(epochs=3, step_fn=Raises(first, 6, RuntimeError("the node died")), record=path)
    partial = raised.value.partial_profile
    second = Training(batches=4)
    middle = second.run(epochs=1, record=path)
    third = Training(batches=4)
    profile = third.run(epochs=2, record=path)
    assert adds_up(middle)
    assert adds_up(profile)
    # The epoch that was interrupted was begun again: the energy of both was spent.
    assert [(e.index, e.complete, e.session) for e in profile.epochs] == [
        (0, True, 0),
        (1, False, 0),
        (1, True, 1),
        (2, True, 2),
        (3, True, 2),
    ]
    whole_j = partial.energy_j + 12 * STEP_J
    assert profile.energy_j == pytest.approx(whole_j, rel=0.005)
    assert profile.energy_j == pytest.approx(sum(s.energy_j for s in profile.sessions), rel=1e-12)
    stds = [session.energy_j_std for session in profile.sessions]
    assert profile.energy_j_std == pytest.approx(math.hypot(*stds))
    assert [s.ended for s in profile.sessions] == ["RuntimeError", None, None]
    assert [s.complete_epochs for s in profile.sessions] == [1, 1, 2]
    assert (profile.batches, profile.samples) == (7 + 4 + 8, (7 + 4 + 8) * 4)
    assert profile.phase("backward").time_s == pytest.approx(18 * STEP_S["backward"])
    assert profile.phase("backward").energy_j == pytest.approx(18 * 0.3 * 200.0, rel=0.01)
    assert profile.layers[1].backward_energy_j == pytest.approx(18 * 0.15 * 200.0, rel=0.1)
    assert pywatt.load(path) == profile
    assert [note for note in profile.notes if note.startswith("adds up 3 sessions")]
    assert "session 3" in profile.explain()
    assert "\nsessions    3" in str(profile)


def test_the_record_is_written_during_the_training(tmp_path):
    """As if the machine died after the third epoch: what was folded until then is in the file."""
    path = tmp_path / "train.json"
    training = Training(batches=20)
    seen = []

    def after_epoch(number):
        training.clock.advance(0.01)
        if path.exists():
            seen.append(pywatt.load(path))

    profile = training.run(epochs=4, record=path, after_epoch=after_epoch)
    assert seen
    assert seen[-1].sessions[0].ended == "going on"
    assert [e.complete for e in seen[-1].epochs][:2] == [True, True]
    assert adds_up(seen[-1])
    assert profile.sessions[0].ended is None
    assert adds_up(profile)
    assert sum(e.energy_j for e in profile.epochs) == pytest.approx(80 * STEP_J, rel=0.005)


KILLED = """
import os, signal, sys
from fakes.timed_training import Training

training = Training(batches=20)

def kill_in_the_third_epoch(p, model, batch):
    if sum(epoch.batches for epoch in p._epochs) > 50:
        os.kill(os.getpid(), signal.SIGKILL)
    return training.step(p, model, batch)

training.run(epochs=4, step_fn=kill_in_the_third_epoch, record=sys.argv[1])
"""


def test_a_training_that_is_killed_adds_up_once(tmp_path):
    """Killed twice with signal 9 and begun again: what was written counts, each part once."""
    path = tmp_path / "train.json"
    left = []
    for _ in range(2):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(path)],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        left.append(pywatt.load(path))
        assert adds_up(left[-1])
    first, second = left
    # Of each, the first epoch lies in the part that was written; where it was cut is in the second.
    part_j = first.energy_j
    assert first.epochs[0].complete
    assert first.epochs[0].energy_j == pytest.approx(20 * STEP_J, rel=0.005)
    assert 20 * STEP_J * 0.99 < part_j < 50 * STEP_J
    assert second.energy_j == pytest.approx(2 * part_j, rel=1e-9)
    profile = Training(batches=20).run(epochs=1, record=path)
    assert adds_up(profile)
    assert [session.ended for session in profile.sessions] == ["going on", "going on", None]
    assert sum(s.energy_j for s in profile.sessions) == pytest.approx(profile.energy_j, rel=1e-12)
    assert profile.energy_j == pytest.approx(2 * part_j + 20 * STEP_J, rel=0.005)
    assert profile.duration_s == pytest.approx(
        2 * first.duration_s + 20 * sum(STEP_S.values()), abs=1e-6
    )
    assert pywatt.load(path) == profile
    assert [path] == list(tmp_path.iterdir())


def test_a_file_that_is_no_record_is_left_alone(tmp_path):
    path = tmp_path / "train.json"
    training = Training()
    for content, error, said in (
        ("{}", pywatt.FileFormatError, "not a pywatt training"),
        (
            '{"format": "pywatt profile"}',
            pywatt.FileFormatError,
            "a pywatt profile, not a pywatt training",
        ),
        ("", pywatt.FileFormatError, "not complete JSON"),
    ):
        path.write_text(content)
        with pytest.raises(error, match=said):
            training.run(record=path)
        assert path.read_text() == content


@pytest.mark.parametrize("record", ["", ".", "/dev/zero"])
def test_a_record_that_is_no_file(record):
    with pytest.raises(pywatt.ArgumentError, match="is not a file"):
        Training().run(record=record)


def test_the_record_of_another_model(tmp_path):
    path = tmp_path / "train.json"
    Training(batches=2).run(record=path)
    before = path.read_bytes()
    model = nn.Linear(2, 2)
    with pytest.raises(pywatt.ArgumentError, match="of Sequential, not Linear"):
        pywatt.profile_training(
            *(model, [torch.ones(1, 2)]),
            optimizer=torch.optim.SGD(model.parameters(), 0.1),
            record=path,
        )
    assert path.read_bytes() == before


def test_a_record_that_cannot_be_written_ends_nothing(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    profile = Training(batches=2).run(
        record=folder / "train.json", after_epoch=lambda *_: shutil.rmtree(folder)
    )
    assert profile.energy_j == pytest.approx(2 * STEP_J, rel=0.005)
    assert any("could not be written" in note for note in profile.notes)


def test_a_record_in_no_folder(tmp_path):
    with pytest.raises(pywatt.ArgumentError, match=r"gone does not exist: create it"):
        Training().run(record=tmp_path / "gone" / "train.json")


def test_two_trainings_on_one_record_have_a_file_each(tmp_path):
    """As where two processes of one job are given the same path."""
    path = tmp_path / "train.json"
    Training(batches=2).run(record=path)
    first, second, third = Training(batches=3), Training(batches=4), Training(batches=1)
    with profiler(second, path) as p:
        first_profile = first.run(record=path)
        for batch in p.epoch(second.loader):
            second.step(p, second.model, batch)
    both = (
        pywatt.load(path),
        pywatt.load(path.with_stem("train-2")),
    )
    assert [profile.energy_j for profile in both] == [first_profile.energy_j, p.result().energy_j]
    assert [profile.batches for profile in both] == [2 + 3, 2 + 4]
    assert any("this one's record is" in note for note in p.result().notes)
    assert not any("this one's record is" in note for note in first_profile.notes)
    path.unlink()  # by hand, while a training runs
    with profiler(third, path.with_stem("train-2")) as p:
        path.with_stem("train-2").unlink()
        for batch in p.epoch(third.loader):
            third.step(p, third.model, batch)
    assert [file.name for file in tmp_path.iterdir()] == ["train-2.json"]


def profiler(training, record):
    return pywatt.TrainingProfiler(
        training.model,
        sensors=training.sensor,
        clock=training.clock,
        rate_hz=100.0,
        method="time",
        record=record,
    )


@pytest.mark.parametrize("name", ["training.json", "training.json.gz"])
def test_a_training_is_saved_and_loaded(name, tmp_path):
    profile = Training(batches=3).run(epochs=2)
    profile.save(tmp_path / name)
    assert pywatt.load(tmp_path / name) == profile
    with pytest.raises(pywatt.FileFormatError, match="a pywatt training, not a pywatt profile"):
        pywatt.compare(tmp_path / name, tmp_path / name)


def test_a_damaged_file(tmp_path):
    path = tmp_path / "training.json"
    Training(batches=2).run().save(path)
    document = json.loads(path.read_text())
    document["profile"]["phases"][0]["time_s"] = "long"
    path.write_text(json.dumps(document))
    with pytest.raises(pywatt.FileFormatError, match="damaged"):
        pywatt.load(path)
    document["version"] = 99
    path.write_text(json.dumps(document))
    with pytest.raises(pywatt.FileFormatError, match="newer pywatt"):
        pywatt.load(path)


def test_a_layer_that_one_session_does_not_have_has_no_energy():
    one, other = Training(batches=3, layers=1).run(), Training(batches=3, layers=2).run()
    both = merged([one, other])
    layers = {row.name: row for row in both.layers}
    assert layers["1"].forward_energy_j is None
    assert layers["0"].forward_energy_j is not None
    (note,) = (note for note in both.notes if "does not have the same layers" in note)
    assert merged([both, one]).notes.count(note) == 1
    assert not any("the same layers" in note for note in merged([one, one]).notes)
