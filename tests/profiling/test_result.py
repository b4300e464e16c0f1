"""What follows from the fields of a profile."""

import json
import math
import pickle
import subprocess
import sys

import pytest
from fakes.profiles import CPU, GPU, layer, profile

from pywatt.support.files import dumped


def test_derived_numbers():
    result = profile(duration_s=2.0)
    assert result.power_w == 25.0
    assert result.energy_per_sample_j == 0.25
    assert result.layers[0].power_w == 400.0  # 40 J in 0.1 s
    assert result.sam is None
    assert result.score == pytest.approx(5 * 0.8**5 / math.log10(10.25), rel=1e-15)
    assert (result.label, result.score_note) == ("measured", None)


def test_sam_is_defined_above_one_kwh():
    result = profile(energy_j=36e6)
    assert result.sam == pytest.approx(1.6384, rel=1e-12)
    assert result.sam_note is None


@pytest.mark.parametrize(
    ("changes", "sam_note", "score_note"),
    [
        ({}, "more than 1 kWh", None),
        ({"accuracy": None}, "accuracy is not known", "accuracy is not known"),
        ({"accuracy": math.nan}, "fraction", "fraction"),
        ({"samples": None}, "more than 1 kWh", "samples is not known"),
        ({"samples": 0}, "more than 1 kWh", "samples is not known"),
    ],
)
def test_a_score_that_is_not_defined_says_why(changes, sam_note, score_note):
    result = profile(**changes)
    assert result.sam is None
    assert sam_note in result.sam_note
    if score_note is None:
        assert result.score is not None
    else:
        assert result.score is None
        assert score_note in result.score_note


def test_missing_energy_is_none():
    missing = layer("head", 1, None)
    assert missing.power_w is None
    result = profile([missing], samples=None, duration_s=0.0)
    assert (result.energy_per_sample_j, result.power_w) == (None, None)
    assert result.layer_label(missing) is None


def test_a_layer_is_estimated_if_a_sensor_of_its_device_is():
    on_gpu, on_cpu = layer("a", 1, 1.0), layer("b", 1, 1.0, device="cpu")
    on_both = layer("", 0, 1.0, device=None)
    result = profile([on_both, on_gpu, on_cpu], sensors=(GPU, CPU), estimated=True)
    labels = [result.layer_label(each) for each in result.layers]
    assert labels == ["estimated", "measured", "estimated"]


def test_json_labels_every_energy_and_holds_what_follows():
    document = json.loads(dumped(profile(sensors=(CPU,), estimated=True).to_dict()))["profile"]
    assert document["label"] == "estimated"
    assert document["energy_per_sample_j"] == 0.25
    assert document["sam"] is None
    assert "1 kWh" in document["sam_note"]
    assert [each["label"] for each in document["layers"]] == ["estimated"] * 3


def test_profiles_can_be_pickled():
    assert pickle.loads(pickle.dumps(profile())) == profile()


def test_repr_is_short():
    assert repr(profile()) == "<Profile of Net: 50 J measured in 1 s, 3 layers>"


def test_pandas_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        profile().to_pandas()


def test_pandas_gets_one_row_a_layer(monkeypatch):
    class Pandas:
        DataFrame = staticmethod(lambda rows: rows)

    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    rows = profile().to_pandas()
    assert [row["name"] for row in rows] == ["", "body", "head"]
    assert (rows[1]["energy_j"], rows[1]["power_w"], rows[1]["label"]) == (30.0, 300.0, "measured")


def test_reading_a_profile_needs_neither_torch_nor_rich():
    code = (
        "import pywatt.support.files, pywatt.renderers, sys; "
        "print({'torch', 'rich'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
