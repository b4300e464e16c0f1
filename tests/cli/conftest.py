"""What the tests of commands share."""

import pytest


# `python -m` looks in the working directory first, where the uncompiled sources may lie.
@pytest.fixture(autouse=True)
def _elsewhere(own_folder, monkeypatch):
    monkeypatch.setenv("PYWATT_NVML_LIBRARY", "/nonexistent/libnvidia-ml.so.1")
