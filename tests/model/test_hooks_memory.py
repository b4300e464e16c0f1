"""Ten million calls fit in 200 MB, from the first call to the finished profile."""

import subprocess
import sys

import pytest

MANY_CALLS = """
import re
from itertools import repeat
from pathlib import Path
import pywatt
from torch import nn

def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

model = nn.Sequential(nn.Identity(), nn.Identity())

def run(calls):
    with pywatt.Profiler(model, sensors="cpu:estimated", method={method!r}) as profiler:
        (outer, leave), (inner, back) = (
            ([*m._forward_pre_hooks.values()][0], [*m._forward_hooks.values()][0])
            for m in (model, model[1])
        )
        for _ in repeat(None, calls // 2):
            outer(); inner(); back(); leave()
    profile = profiler.result()
    assert [layer.calls for layer in profile.layers] == [calls // 2, 0, calls // 2]
    total_j = sum(layer.self_energy_j or 0.0 for layer in profile.layers) + profile.outside_j
    assert abs(total_j - profile.energy_j) <= 1e-9 * profile.energy_j

run(1000)
before_mb = peak_mb()
run(10_000_000)
print(peak_mb() - before_mb)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["time", "overlap"])
def test_ten_million_calls_fit_in_200_mb(method):
    code = MANY_CALLS.format(method=method)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    # Their spans alone take 153 MB.
    assert 150 < float(run.stdout) < 200
