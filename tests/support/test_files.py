"""Results as JSON files: written whole or not at all, read back exactly, refused if damaged."""

import errno
import gzip
import json
import math

import numpy as np
import pytest
from fakes.profiles import layer, profile

from pywatt.errors import FileFormatError
from pywatt.support.files import dumped, load, loads


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
    assert dumped(loaded.to_dict()) == dumped(saved.to_dict())


def test_only_the_gz_suffix_compresses(tmp_path):
    profile().save(str(tmp_path / "plain.json"))
    profile().save(str(tmp_path / "small.json.gz"))
    assert json.loads((tmp_path / "plain.json").read_bytes())["version"] == 1
    assert json.loads(gzip.decompress((tmp_path / "small.json.gz").read_bytes()))["version"] == 1


def test_numbers_that_json_does_not_have_come_back():
    saved = profile(accuracy=math.nan, energy_j_std=math.inf, outside_j_std=-math.inf)
    text = dumped(saved.to_dict())
    json.loads(text, parse_constant=pytest.fail)  # strict JSON
    loaded = loads(text)
    assert math.isnan(loaded.accuracy)
    assert (loaded.energy_j_std, loaded.outside_j_std) == (math.inf, -math.inf)


def test_numpy_numbers_are_saved_as_numbers():
    saved = profile(energy_j=np.float64(50.5), samples=np.int64(200), accuracy=np.float32(0.5))
    loaded = loads(dumped(saved.to_dict()))
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
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "not text"),
        (b"hello", "not complete JSON"),
        (b"[" * 200_000, "not complete JSON"),
        (b"[1, 2]", "not a pywatt result"),
        (b'{"traceEvents": []}', "not a pywatt result"),
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
    document = json.loads(dumped(profile().to_dict()))
    document["profile"][field] = wrong
    with pytest.raises(FileFormatError, match="damaged"):
        loads(json.dumps(document))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("field", "wrong", "message"),
    [
        ("energy_j", "x", "damaged pywatt profile: energy_j is 'x'; save it again"),
        ("layers", [{"name": "only"}], "damaged pywatt profile: .*missing"),
    ],
)
def test_a_damaged_file_names_what_is_wrong(field, wrong, message):
    document = json.loads(dumped(profile().to_dict()))
    document["profile"][field] = wrong
    with pytest.raises(FileFormatError, match=message):
        loads(json.dumps(document))


def test_a_missing_key_is_named_as_such():
    with pytest.raises(FileFormatError, match=r"damaged pywatt profile: KeyError\('profile'\)"):
        loads('{"format": "pywatt profile", "version": 1}')


@pytest.mark.parametrize("content", [b"SQLite format 3\x00\xff", b"{}"])
def test_a_results_file_of_a_study_has_its_own_command(tmp_path, content):
    path = tmp_path / "study.db"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"written by save\(\).*use pywatt study show"):
        load(path)
