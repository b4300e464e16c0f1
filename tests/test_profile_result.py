import errno
import gzip
import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from profiles import CPU, GPU, layer, profile

from pywatt.errors import FileFormatError
from pywatt.support.files import from_json, load, to_json


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


@pytest.mark.parametrize("name", ["run.json", "run.json.gz"])
def test_a_saved_profile_comes_back_exactly(tmp_path, name):
    saved = profile(
        [
            layer("", 0, 0.1 + 0.2, 1 / 3),
            layer("never", 1, None, calls=0),
            layer("5e-324", 1, 5e-324),
        ],
        outside_j_std=1e-17,
        energy_by_sensor={"nvml:0": 50.0, "gone": None},
    )
    saved.save(tmp_path / name)
    loaded = load(tmp_path / name)
    assert loaded == saved
    before, after = saved.traces["nvml:0"], loaded.traces["nvml:0"]
    assert list(loaded.traces) == ["nvml:0"]
    assert (after.sensor, after.quality, after.ended) == (before.sensor, before.quality, None)
    for array in ("time_s", "power_w", "energy_j", "run_first_s", "run_last_s", "run_value"):
        np.testing.assert_array_equal(getattr(after, array), getattr(before, array))
    assert to_json(loaded) == to_json(saved)


def test_only_the_gz_suffix_compresses(tmp_path):
    profile().save(str(tmp_path / "plain.json"))
    profile().save(str(tmp_path / "small.json.gz"))
    assert json.loads((tmp_path / "plain.json").read_bytes())["version"] == 1
    assert json.loads(gzip.decompress((tmp_path / "small.json.gz").read_bytes()))["version"] == 1


def test_json_labels_every_energy_and_holds_what_follows():
    document = json.loads(to_json(profile(sensors=(CPU,), estimated=True)))["profile"]
    assert document["label"] == "estimated"
    assert document["energy_per_sample_j"] == 0.25
    assert document["sam"] is None
    assert "1 kWh" in document["sam_note"]
    assert [each["label"] for each in document["layers"]] == ["estimated"] * 3


def test_numbers_that_json_does_not_have_come_back():
    saved = profile(accuracy=math.nan, energy_j_std=math.inf, outside_j_std=-math.inf)
    text = to_json(saved)
    json.loads(text, parse_constant=pytest.fail)  # strict JSON
    loaded = from_json(text)
    assert math.isnan(loaded.accuracy)
    assert (loaded.energy_j_std, loaded.outside_j_std) == (math.inf, -math.inf)


def test_numpy_numbers_are_saved_as_numbers():
    saved = profile(energy_j=np.float64(50.5), samples=np.int64(200), accuracy=np.float32(0.5))
    loaded = from_json(to_json(saved))
    assert (loaded.energy_j, loaded.samples, loaded.accuracy) == (50.5, 200, 0.5)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    profile().save(path)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        profile(model="Other").save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saving_through_a_link_keeps_the_link(tmp_path):
    link = tmp_path / "latest.json"
    link.symlink_to(tmp_path / "run.json")
    profile().save(link)
    assert link.is_symlink()
    assert load(tmp_path / "run.json") == profile()


@pytest.mark.parametrize("name", ["run.json", "run.json.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(tmp_path, name, kept):
    path = tmp_path / name
    profile().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(FileFormatError, match=rf"{name}.*truncated"):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "no text"),
        (b"hello", "not complete JSON"),
        (b"[" * 200_000, "not complete JSON"),
        (b"[1, 2]", "no pywatt profile"),
        (b'{"traceEvents": []}', "no pywatt profile"),
        (b'{"format": "pywatt profile", "version": 2}', "pip install --upgrade pywatt"),
        (b'{"format": "pywatt profile", "version": 1}', "damaged"),
        (b'{"format": "pywatt profile", "version": 1, "profile": [1]}', "damaged"),
        (b'{"format": "pywatt profile", "version": 1, "x": NaN}', "NaN is not JSON"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(tmp_path, content, message):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("energy_j", "50"),
        ("duration_s", None),
        ("energy_j", True),
        ("samples", 1.5),
        ("notes", [1]),
        ("energy_by_sensor", {"nvml:0": "50"}),
        ("layers", [{"name": "only"}]),
        ("sensors", [{}]),
        ("traces", {"nvml:0": {}}),
    ],
)
def test_a_field_of_the_wrong_type_is_refused(field, wrong):
    document = json.loads(to_json(profile()))
    document["profile"][field] = wrong
    with pytest.raises(FileFormatError, match="damaged"):
        from_json(json.dumps(document))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.json")


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
    code = "import pywatt.saved, pywatt.renderers, sys; print({'torch', 'rich'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
