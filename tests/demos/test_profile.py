import os
import re
import subprocess
import sys

import pytest
import torch

import pywatt
from pywatt.demos import profile as demo


@pytest.fixture(scope="module")
def trained():
    pytest.importorskip("sklearn", reason="the demo's data comes with scikit-learn")
    return demo.train(progress=False)


def accuracy(trained):
    with torch.no_grad():
        right = sum(int((trained.model(x).argmax(1) == y).sum()) for x, y in trained.batches)
    return right / trained.test_images


def test_learns_what_it_was_not_shown(trained):
    assert (trained.training_images, trained.test_images) == (1347, 450)
    assert sum(len(targets) for _, targets in trained.batches) == 450
    assert accuracy(trained) > 0.95
    assert not trained.model.training


def test_is_the_same_every_time_and_leaves_torch_alone(trained):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    threads = torch.get_num_threads()
    again = demo.train(progress=False)
    assert torch.rand(1) == expected
    assert torch.get_num_threads() == threads
    for one, other in zip(trained.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_passes_are_whole(trained):
    assert list(demo.passes(trained, 0.0)) == trained.batches


def test_the_profile_counts_every_pass(trained):
    sensor = pywatt.ScriptedSensor([50.0])
    profile = pywatt.profile(trained.model, demo.passes(trained, 0.0), sensors=sensor)
    assert (profile.samples, profile.batches) == (450, len(trained.batches))
    assert profile.accuracy == pytest.approx(accuracy(trained))
    assert profile.energy_j == pytest.approx(50.0 * profile.duration_s, rel=1e-6)


def test_without_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(pywatt.PywattError, match=re.escape("pip install 'pywatt[demo]'")):
        demo.train()


@pytest.mark.slow
def test_the_command(tmp_path):
    pytest.importorskip("sklearn", reason="the demo's data comes with scikit-learn")
    ran = subprocess.run(
        [sys.executable, "-m", "pywatt", "demo", "--save", "digits.json"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    profile = pywatt.load(tmp_path / "digits.json")
    passes, rest = divmod(profile.samples, 450)
    assert (passes >= 1, rest) == (True, 0)
    assert f"profiled on the other 450 (passes: {passes:,})." in ran.stdout
    assert profile.accuracy > 0.95
    assert f"accuracy    {profile.accuracy:.4f}, score {profile.score:.4f}\n" in ran.stdout
    assert "SAM         not defined: SAM needs more than 1 kWh" in profile.explain()
    assert profile.label in ran.stdout
