"""A host with two simulated CUDA devices."""

from __future__ import annotations

import pytest
from fakes.cuda_machine import Machine


@pytest.fixture
def machine() -> Machine:
    return Machine()
