"""What several test modules share: the simulated NVIDIA GPUs, and what tests of real ones need."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.simulated_nvml import SimulatedNvml, library_path

# Before torch is imported, here or in what tests start: its threads would wait for one another
# spinning, on cores that other tests use.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background and nohup have these ignored, children inherit that, and what waits for them
# would wait forever.
signal.signal(signal.SIGINT, signal.default_int_handler)
for ignored in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(ignored, signal.SIG_DFL)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedNvml]:
    """The simulated GPUs, one by default, as the only ones that pywatt sees."""
    monkeypatch.setenv("PYWATT_NVML_LIBRARY", str(library_path()))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    simulated = SimulatedNvml()
    simulated.reset()
    yield simulated
    # The library stays loaded, and later tests shall find no GPU in it.
    simulated.reset(0)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and a terminal of 100 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def frozen_garbage() -> Iterator[None]:
    """A study collects garbage after each run; without what is imported that takes no time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# Last, so that what -m and -k leave out does not count.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where they cannot run."""
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu:
        return
    reason = _why_no_gpu()
    if not reason and len(gpu) < len(items):
        # A process has one libnvidia-ml.so.1, and other tests load the simulated one.
        reason = "needs the driver's NVML, so a run of its own: pytest -m gpu"
    if reason:
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_no_gpu() -> str:
    try:
        import torch
    except ImportError as error:
        return f"needs torch: {error}"
    return "" if torch.cuda.is_available() else "needs an NVIDIA GPU that torch can use"
