"""make gpu-check: says so where there is no GPU; what it does, shown on the CPU in small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def gpu_check(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_check

    return gpu_check


def test_without_a_gpu_it_says_so_and_claims_nothing(tmp_path):
    page = tmp_path / "accuracy.md"
    page.write_text("# Accuracy\n")
    ran = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu_check.py", "--append", page],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    expected = "gpu-check: torch sees no NVIDIA GPU here, so nothing was checked\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, expected, "")
    assert page.read_text() == "# Accuracy\n"


@pytest.mark.slow
def test_the_block_it_writes(gpu_check):
    from pywatt.sensors.selection import select

    (sensor,) = select("cpu:estimated").sensors
    setting = gpu_check.Setting(
        device="cpu",
        sensor="cpu:estimated",
        matmul=64,
        elements=1 << 16,
        launches=3,
        probe_s=0.5,
        alone_s=0.2,
        mixed_s=0.2,
        budget_s=1.0,
    )
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU()).eval()
    checked = gpu_check.check(sensor, setting, {"net": lambda: (model, torch.zeros(8, 64))})
    rows = {row.name: row for row in checked.comparison.rows}
    assert rows.keys() == {"matmul", "copy", "tiny"}
    for row in rows.values():
        assert min(row.time_s, row.alone_w, row.alone_j, row.mixed_j, row.mixed_j_std) > 0
    total_j = sum(row.alone_j for row in rows.values())
    off_j = sum(abs(row.off) * row.alone_j for row in rows.values())
    assert checked.comparison.misattributed == pytest.approx(off_j / total_j)
    block = gpu_check.markdown(checked)
    assert block.startswith("### cpu:estimated, 20")
    assert "cpu:estimated: every reading is fresh" in block
    assert "| matmul | " in block
    assert "Sequential: " in block
    assert "| 0 | Linear | " in block
    assert "\n- no power meter" not in block  # the sensor was named
