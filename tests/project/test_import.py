import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pywatt

HEAVY = {"torch", "pandas", "plotly", "rich", "matplotlib", "transformers", "sklearn", "scipy"}


def run_python(code: str, **environment: str) -> str:
    # -I keeps the working folder, where the sources may lie, off the path.
    return subprocess.run(
        [sys.executable, "-I", "-c", code],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_the_installed_package_is_tested():
    installed = importlib.metadata.distribution("pywatt").locate_file("pywatt/__init__.py")
    assert Path(pywatt.__file__).resolve() == Path(str(installed)).resolve()


def test_version_is_that_of_the_metadata():
    assert pywatt.__version__ == importlib.metadata.version("pywatt")


@pytest.mark.parametrize("name", ["py.typed", "_core.pyi"])
def test_type_information_is_shipped(name):
    assert (Path(pywatt.__file__).parent / name).is_file()


def test_import_leaves_heavy_modules_alone():
    loaded = json.loads(
        run_python("import json, sys; import pywatt; print(json.dumps(list(sys.modules)))")
    )
    assert "pywatt" in loaded
    assert HEAVY.isdisjoint(loaded)


def test_names_are_listed_and_can_be_had():
    code = (
        "import pywatt; listed = dir(pywatt); "
        "print(all(name in listed and getattr(pywatt, name) for name in pywatt.__all__))"
    )
    assert run_python(code) == "True\n"
    with pytest.raises(AttributeError, match="'pywatt' has no attribute 'nothing'"):
        pywatt.nothing  # noqa: B018


def test_imports_without_a_driver():
    nowhere = "/nonexistent/libnvidia-ml.so.1"
    version = run_python("import pywatt; print(pywatt.__version__)", PYWATT_NVML_LIBRARY=nowhere)
    assert version.strip() == pywatt.__version__


@pytest.mark.alone
def test_import_takes_little_longer_than_numpy():
    code = (
        "import time, numpy; start = time.perf_counter(); import pywatt; "
        "print(time.perf_counter() - start)"
    )
    # The least of them: a machine that is busy with other work makes it longer only.
    assert min(float(run_python(code)) for _ in range(9)) <= 0.15
