import re
import time
from pathlib import Path

import pytest

import pywatt
from pywatt import cli
from pywatt.demos import study as demo

pytest.importorskip("sklearn", reason="the demo's data comes with scikit-learn")

# Seconds of the scripted clock that a sample takes, at 2**17 W.
POWER_W = 131072.0
SAMPLE_S = {
    "logistic_regression": 2.0**-16,
    "mlp": 2.0**-17,
    "cnn": 2.0**-7,
    "VisionTransformer": 2.0**-4,
    "NearestCentroid": 2.0**-11,
}
# Its models, each with a clock inside it.
TIMED = """
import digits_models
from digits_models import fit_centroids as fit, loaders
from fakes.timed_models import Timed, clock

def timed(kind, sample_s, **arguments):
    return Timed(getattr(digits_models, kind)(**arguments), sample_s)

def fit_centroids(model, loader):
    fit(model.inside, loader)
    clock.advance(0.5)
"""


@pytest.mark.slow
def test_the_whole_demo_on_a_sensor_whose_truth_is_known(tmp_path):
    from fakes.timed_models import clock

    path = demo.prepare(tmp_path)
    (tmp_path / "timed_digits.py").write_text(TIMED)
    text = path.read_text().replace("epochs = 10", "epochs = 4").replace("T_max = 10", "T_max = 4")
    for kind, sample_s in SAMPLE_S.items():
        name = f"digits_models.py:{kind}"
        assert f'"{name}"' in text
        call = f'call = "timed_digits.py:timed", kind = "{kind}", sample_s = {sample_s}'
        text = text.replace(f'call = "{name}"', call).replace(f'= "{name}"', f"= {{ {call} }}")
    text = text.replace("digits_models.py:", "timed_digits.py:")
    path.write_text(text.replace("threads = 1 ", "rate_hz = 8\nthreads = 1 "))
    sensor = pywatt.ScriptedSensor([POWER_W], clock=clock)
    table = pywatt.Study(path, sensors=sensor, clock=clock).run(progress=False)
    assert [model.errors for model in table.models] == [()] * 5
    # Notes on layers, phases and passes are of no use where only the total is reported.
    assert [note for note in table.notes if "modules" in note or "phases" in note] == []
    assert not any("as a whole" in note or "repeated the loader" in note for note in table.notes)
    for model, sample_s in zip(table.models, SAMPLE_S.values(), strict=True):
        true_j = sample_s * POWER_W
        assert model.row.sample_energy_j == pytest.approx(true_j, rel=1e-6), model.name
        training_s = 0.5 if model.name == "nearest centroid" else 4 * 1347 * sample_s
        assert model.row.train_energy_j == pytest.approx(training_s * POWER_W, rel=1e-6)
        assert model.runs == 2
        assert 0.4 < model.row.accuracy < 1.0
    # The truth: 1 J, 2 J, 64 J, 1 kJ and 8 kJ a sample, and no accuracy makes up for the last two.
    names = [standing.name for standing in table.ranking.standings]
    assert names[:2] == ["MLP", "logistic regression"]
    assert names[-1] == "small ViT"
    first = table.ranking.standings[0]
    assert first.first_shares[0] == 1.0
    assert table.standing("small ViT").dominated_by
    beaten = [one for one in table.ranking.standings if one.dominated_by]
    assert all(share == 0.0 for one in beaten for share in one.first_shares if share is not None)


def test_what_is_in_the_folder_stays(tmp_path):
    path = demo.prepare(tmp_path / "digits")
    path.write_text("changed")
    assert demo.prepare(tmp_path / "digits").read_text() == "changed"


def test_the_command_takes_a_folder_and_writes_all_to_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = demo.prepare(Path("digits"))
    # One model, and the least that can be measured: the whole is in make accuracy.
    text = re.sub(r"\[\[models\]\](?!.*logistic).*", "", path.read_text(), flags=re.DOTALL)
    path.write_text(text.split("[[models]]")[0] + "[[models]]" + text.split("[[models]]")[1])
    path.write_text(
        path.read_text().replace("[0, 1]", "[0]").replace("budget_s = 2.0", "budget_s = 0.1")
    )
    assert cli.main(["study", "demo", "--folder", "digits"]) == 0
    assert "logistic regression" in capsys.readouterr().out
    written = {entry.name for entry in Path("digits").iterdir()}
    assert written >= {"digits.toml", "digits.db", "digits.md", "digits.csv", "digits.json"}
    assert {"accuracy.png", "energy-dark.png", "score.png", "ranks-dark.png"} <= written


@pytest.mark.accuracy
def test_the_demo_takes_less_than_three_minutes(tmp_path):
    start_s = time.monotonic()
    assert cli.main(["study", "demo", "--folder", str(tmp_path)]) == 0
    assert time.monotonic() - start_s < 180.0
