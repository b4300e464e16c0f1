"""What building from source promises; left out where there is no source tree or no CMake."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
CMAKE = shutil.which(
    "cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
)
needs_cmake = pytest.mark.skipif(CMAKE is None, reason="no cmake")


def configure(build: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("CUDA_HOME", "CUDA_PATH")}
    return subprocess.run(
        [str(CMAKE), "-S", str(ROOT), "-B", str(build), *options],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
    )


def unwrapped(text: str) -> str:
    """CMake's messages without the line breaks it puts into them."""
    return re.sub(r"\s+", " ", text)


@pytest.fixture
def bare_python(tmp_path: Path) -> str:
    """The option that makes CMake use a Python without any installed package."""
    script = tmp_path / "python3"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    script.chmod(0o755)
    return f"-DPython_EXECUTABLE={script}"


@needs_cmake
@pytest.mark.parametrize(
    ("system", "processor"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "riscv64")]
)
def test_other_platforms_are_refused_clearly(tmp_path, system, processor):
    configured = configure(
        tmp_path, f"-DCMAKE_SYSTEM_NAME={system}", f"-DCMAKE_SYSTEM_PROCESSOR={processor}"
    )
    assert configured.returncode != 0
    assert (
        "is built for Linux x86-64 and aarch64 only; "
        f"this is {system} {processor}. On Windows use WSL2." in unwrapped(configured.stderr)
    )


@needs_cmake
def test_nvml_header_comes_from_the_package(tmp_path):
    try:
        files = importlib.metadata.files("nvidia-nvml-dev") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("nvidia-nvml-dev is not installed")
    header = next(Path(str(file.locate())) for file in files if file.name == "nvml.h")

    configured = configure(tmp_path, f"-DPython_EXECUTABLE={sys.executable}")

    assert configured.returncode == 0, configured.stderr
    assert f"nvml.h is taken from {header.parent}\n" in configured.stdout


@needs_cmake
def test_nvml_header_comes_from_cuda_without_the_package(tmp_path, bare_python):
    header = tmp_path / "cuda" / "include" / "nvml.h"
    header.parent.mkdir(parents=True)
    header.touch()

    configured = configure(tmp_path / "build", bare_python, CUDA_HOME=str(tmp_path / "cuda"))

    assert configured.returncode == 0, configured.stderr
    assert f"nvml.h is taken from {header.parent}\n" in configured.stdout


@needs_cmake
def test_missing_nvml_header_names_the_remedies(tmp_path, bare_python):
    # Headers are sought below an empty root, so that a CUDA toolkit of the machine is not found.
    configured = configure(
        tmp_path / "build",
        bare_python,
        f"-DCMAKE_FIND_ROOT_PATH={tmp_path / 'empty'}",
        "-DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY",
    )
    assert configured.returncode != 0
    assert "pip install nvidia-nvml-dev" in configured.stderr
    assert "CUDA_HOME" in configured.stderr


def requirements_of(name: str, extras: set[str]) -> set[str]:
    """The names of all that an installed distribution pulls in, with these extras."""
    found: set[str] = set()
    pending = [(name, frozenset(extras))]
    seen = set(pending)
    while pending:
        name, wanted = pending.pop()
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in wanted | {""}):
                continue
            found.add(canonicalize_name(requirement.name))
            step = (requirement.name, frozenset(requirement.extras))
            if step not in seen:
                seen.add(step)
                pending.append(step)
    return found


def test_constraints_pin_every_requirement():
    pins = re.findall(r"^([\w.-]+)==[\w.]+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    # A CUDA build of torch pins its own libraries.
    of_torch = re.compile(r"nvidia-(?!ml-py)|cuda-|triton")
    needed = {
        name for name in requirements_of("pywatt", {"demo", "test"}) if not of_torch.match(name)
    }
    assert {"torch", "numpy", "pytest", "scikit-learn", "sympy"} <= needed
    assert needed <= {canonicalize_name(pin) for pin in pins}
