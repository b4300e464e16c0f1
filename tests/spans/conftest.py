"""A native span recorder on a scripted clock."""

import pytest

from pywatt import ScriptedClock, _core


@pytest.fixture
def clock():
    return ScriptedClock(100.0)


@pytest.fixture
def recorder(clock):
    return _core.SpanRecorder(clock)
