"""Machines without a GPU, and with RAPL zones."""

import pytest
from fakes.powercap import FakeRapl


@pytest.fixture
def no_gpu(gpus):
    """The simulated driver runs and sees no card."""
    gpus.reset(0)
    return gpus


@pytest.fixture
def rapl(tmp_path):
    """A /sys with two sockets and psys; `set(zone, microjoules)` moves a counter."""
    return FakeRapl(tmp_path)
