"""Trainings that are interrupted and gone on with, and what is told of those that never were."""

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
from timed_training import STEP_S, STEP_W, Training, adds_up
from torch import nn

import pywatt
from pywatt.training.merge import added_up

STEP_J = sum(STEP_S[name] * STEP_W[name] for name in STEP_S)


class Raises:
    """Steps as a training does, until its step of that number, counted from 0, raises."""

    def __init__(self, training, number, error):
        self.training, self.left, self.error = training, number, error

    def __call__(self, p, model, batch):
        if self.left == 0:
            with p.phase("forward"):
                self.training.clock.advance(0.1)
                raise self.error
        self.left -= 1
        return self.training.step(p, model, batch)


@pytest.mark.parametrize("error", [ValueError("no more"), KeyboardInterrupt(), SystemExit(3)])
def test_what_was_measured_survives(error, tmp_path):
    training = Training(batches=4)
    path = tmp_path / "train.json"
    with pytest.raises(type(error)) as raised:
        training.run(epochs=3, step_fn=Raises(training, 6, error), record=path)
    assert raised.value is error
    partial = error.partial_profile
    assert [(e.complete, e.batches) for e in partial.epochs] == [(True, 4), (False, 3)]
    assert partial.epochs[0].energy_j == pytest.approx(4 * STEP_J, rel=0.005)
    lost_j = 0.1 * 50.0 + 0.1 * 100.0  # the data phase and half of forward
    assert partial.energy_j == pytest.approx(6 * STEP_J + lost_j, rel=0.005)
    assert adds_up(partial)
    assert partial.sessions[0].ended == type(error).__name__
    assert any("ended early" in note for note in partial.notes)
    assert pywatt.TrainingProfile.load(path) == partial
    assert not training.model[0]._forward_hooks


def test_a_real_ctrl_c_in_the_users_own_loop(tmp_path):
    training = Training(batches=4)
    path = tmp_path / "train.json"
    p = pywatt.TrainingProfiler(
        training.model,
        sensors=training.sensor,
        clock=training.clock,
        method="overlap",
        record=path,
    )

    def loop():
        with p:
            for number, batch in enumerate(p.epoch(training.loader)):
                training.step(p, training.model, batch)
                if number == 2:
                    signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        loop()
    written = pywatt.TrainingProfile.load(path)
    assert written == p.result()
    assert written.sessions[0].ended == "KeyboardInterrupt"
    assert written.environment["date"] == written.sessions[0].date
    assert written.energy_j == pytest.approx(3 * STEP_J, rel=0.005)


def test_a_restart_goes_on_with_the_record(tmp_path):
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
    assert pywatt.TrainingProfile.load(path) == profile
    assert [note for note in profile.notes if note.startswith("adds up 3 sessions")]
    assert "session 3" in str(profile)


def test_the_record_is_written_while_the_training_goes_on(tmp_path):
    """As if the machine died after the third epoch: what was folded until then is in the file."""
    path = tmp_path / "train.json"
    training = Training(batches=20)
    seen = []

    def after_epoch(number):
        training.clock.advance(0.01)
        if path.exists():
            seen.append(pywatt.TrainingProfile.load(path))

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
from timed_training import Training

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
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        left.append(pywatt.TrainingProfile.load(path))
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
    assert pywatt.TrainingProfile.load(path) == profile
    assert [path] == list(tmp_path.iterdir())


def test_a_file_that_is_no_record_is_left_alone(tmp_path):
    path = tmp_path / "train.json"
    training = Training()
    for content, error, said in (
        ("{}", pywatt.FileFormatError, "no pywatt training"),
        ('{"format": "pywatt profile"}', pywatt.FileFormatError, "pywatt.load reads"),
        ("", pywatt.FileFormatError, "not complete JSON"),
    ):
        path.write_text(content)
        with pytest.raises(error, match=said):
            training.run(record=path)
        assert path.read_text() == content


@pytest.mark.parametrize("record", ["", ".", "/dev/zero"])
def test_a_record_that_is_no_file(record):
    with pytest.raises(pywatt.ArgumentError, match="is no file"):
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
    with pytest.raises(pywatt.ArgumentError, match=r"gone is no folder: make it first"):
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
        pywatt.TrainingProfile.load(path),
        pywatt.TrainingProfile.load(path.with_stem("train-2")),
    )
    assert [profile.energy_j for profile in both] == [first_profile.energy_j, p.result().energy_j]
    assert [profile.batches for profile in both] == [2 + 3, 2 + 4]
    assert any("this one's record is" in note for note in p.result().notes)
    assert not any("this one's record is" in note for note in first_profile.notes)
    path.unlink()  # by hand, while a training goes on
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
    assert pywatt.TrainingProfile.load(tmp_path / name) == profile
    with pytest.raises(pywatt.FileFormatError, match=r"pywatt\.TrainingProfile\.load reads"):
        pywatt.load(tmp_path / name)


def test_a_damaged_file(tmp_path):
    path = tmp_path / "training.json"
    Training(batches=2).run().save(path)
    document = json.loads(path.read_text())
    document["profile"]["phases"][0]["time_s"] = "long"
    path.write_text(json.dumps(document))
    with pytest.raises(pywatt.FileFormatError, match="damaged"):
        pywatt.TrainingProfile.load(path)
    document["version"] = 99
    path.write_text(json.dumps(document))
    with pytest.raises(pywatt.FileFormatError, match="newer pywatt"):
        pywatt.TrainingProfile.load(path)


def test_a_sensor_that_is_lost_ends_nothing():
    training = Training(batches=4)
    sensor = pywatt.ScriptedSensor.from_readings([*[50.0] * 300, float("inf")])
    profile = training.run(sensors=sensor)
    assert profile.energy_j is None
    assert {phase.energy_j for phase in profile.phases} == {None}
    assert profile.layers[0].forward_energy_j is None
    assert profile.epochs[0].energy_j is None
    assert profile.epochs[0].complete
    assert profile.phase("forward").time_s == pytest.approx(4 * STEP_S["forward"])
    assert any("ended early" in note for note in profile.notes)
    assert "unavailable" in str(profile)
    with pytest.raises(pywatt.ArgumentError, match="nothing can be extrapolated"):
        profile.extrapolate(10)


# Extrapolation.


def with_epochs(energies_j, std_j=0.0):
    """A training whose epochs took so much."""
    profile = Training(batches=1).run(epochs=len(energies_j))
    epochs = [
        pywatt.EpochEnergy(
            index=k,
            energy_j=energy_j,
            energy_j_std=std_j,
            duration_s=2.0,
            batches=1,
            samples=4,
            loss=None,
        )
        for k, energy_j in enumerate(energies_j)
    ]
    from dataclasses import replace

    return replace(
        profile,
        epochs=tuple(epochs),
        energy_j=float(sum(energies_j)),
        energy_j_std=std_j,
        duration_s=2.0 * len(energies_j),
    )


def test_the_first_epochs_tell_the_whole_training():
    found = with_epochs([100.0, 104.0, 96.0]).extrapolate(12)
    # So far 300 J, and 9 more of 100 J; s = 4 J, so 4·√(9 + 81/3) = 24 J, and t(2) = 4.303.
    assert found.energy_j == pytest.approx(1200.0)
    assert found.energy_j_std == pytest.approx(24.0)
    assert found.low_j == pytest.approx(1200.0 - 4.3026527 * 24.0)
    assert found.high_j == pytest.approx(1200.0 + 4.3026527 * 24.0)
    assert found.duration_s == pytest.approx(24.0)
    assert (found.epochs, found.measured_epochs, found.estimated) == (12, 3, False)
    assert found.notes[0].startswith("extrapolated, not measured")


def test_the_measurements_own_error_is_the_same_for_all_epochs():
    found = with_epochs([100.0, 100.0, 100.0], std_j=3.0).extrapolate(30)
    assert found.energy_j_std == pytest.approx(30.0)
    assert found.high_j == pytest.approx(3000.0 + 1.96 * 30.0)


def test_one_epoch_tells_no_spread():
    found = with_epochs([100.0]).extrapolate(10)
    assert found.energy_j == pytest.approx(1000.0)
    assert (found.energy_j_std, found.low_j, found.high_j) == (None, None, None)
    assert any("spread between epochs is unknown" in note for note in found.notes)
    assert "spread unknown" in str(found)


def test_the_interval_holds_what_comes():
    """Over many trainings of 40 epochs, 95 % of them end within what the first 5 tell."""
    import numpy as np

    rng = np.random.default_rng(0)
    profile = with_epochs([1.0] * 5)
    held = 0
    for _ in range(1000):
        energies_j = 100.0 + 5.0 * rng.standard_normal(40)
        from dataclasses import replace

        told = replace(
            profile,
            epochs=tuple(
                replace(epoch, energy_j=float(energy_j))
                for epoch, energy_j in zip(profile.epochs, energies_j, strict=False)
            ),
            energy_j=float(np.sum(energies_j[:5])),
        ).extrapolate(40)
        held += told.low_j <= float(np.sum(energies_j)) <= told.high_j
    assert 0.93 <= held / 1000 <= 0.97


def test_nothing_to_extrapolate():
    profile = with_epochs([100.0, 102.0])
    assert profile.extrapolate(2).energy_j == pytest.approx(202.0)
    assert str(profile.extrapolate(2)) == "202 J for all 2 epochs, measured, in 4 s"
    with pytest.raises(pywatt.ArgumentError, match="2 were measured already"):
        profile.extrapolate(1)


def test_an_epoch_that_was_interrupted_is_counted_and_not_taken_for_one():
    training = Training(batches=4)
    with pytest.raises(ValueError, match="no more") as raised:
        training.run(epochs=4, step_fn=Raises(training, 10, ValueError("no more")))
    partial = raised.value.partial_profile
    found = partial.extrapolate(5)
    assert found.measured_epochs == 2
    assert found.energy_j == pytest.approx(partial.energy_j + 3 * 4 * STEP_J, rel=0.005)


def test_a_layer_that_one_session_does_not_have_has_no_energy():
    one, other = Training(batches=3, layers=1).run(), Training(batches=3, layers=2).run()
    both = added_up([one, other])
    layers = {row.name: row for row in both.layers}
    assert layers["1"].forward_energy_j is None
    assert layers["0"].forward_energy_j is not None
    (note,) = (note for note in both.notes if "not the same layers" in note)
    assert added_up([both, one]).notes.count(note) == 1
    assert not any("not the same layers" in note for note in added_up([one, one]).notes)
