"""The figures of whole results stay what they were."""

import json

import pytest
from golden.results import FOLDER, RESULTS, plain


def assert_alike(found, kept, where):
    """The same keys, lengths, texts and flags, and numbers to 1e-6."""
    assert type(found) is type(kept) or {type(found), type(kept)} == {int, float}, where
    if isinstance(kept, dict):
        assert found.keys() == kept.keys(), where
        for key, value in kept.items():
            assert_alike(found[key], value, f"{where}.{key}")
    elif isinstance(kept, list):
        assert len(found) == len(kept), where
        for k, value in enumerate(kept):
            assert_alike(found[k], value, f"{where}[{k}]")
    elif isinstance(kept, int | float) and not isinstance(kept, bool):
        assert found == pytest.approx(kept, rel=1e-6, abs=0.0, nan_ok=True), where
    else:
        assert found == kept, where


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_has_the_figures_it_had(gpus, name):
    kept = json.loads((FOLDER / f"{name}.json").read_text())
    assert_alike(plain(RESULTS[name](gpus)), kept, name)


def test_every_file_belongs_to_a_result():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(RESULTS)
