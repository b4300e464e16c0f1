"""The benchmarks' answers, at small sizes; `make bench` judges their speeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.simulated_nvml import library_path

# All import torch and transformers.
pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
WRONG_ANSWER = """
import sys
sys.path.insert(0, sys.argv[1])
import integration, run
run.BENCHMARKS = (integration.measure,)
run.peers.compare = lambda *, quick: run.peers.Comparison((), {}, {})
numpy_answer = integration.with_numpy
integration.with_numpy = lambda *arguments: numpy_answer(*arguments) * (1 + 1e-8)
sys.argv[1:] = ["--quick"]
sys.exit(run.main())
"""
MISSED_TARGET = """
import sys
sys.path.insert(0, sys.argv[1])
import run
from comparison import Row, Target
tries = []
def measure(*, quick):
    tries.append(quick)
    return [Row("ours", "3", target=Target(3 - (len(tries) > 1), "<=", 2, "<= 2")),
            Row("theirs", "5", target=Target(5, "<=", 4, "<= 4"))]
run.BENCHMARKS = (measure,)
run.peers.compare = lambda *, quick: run.peers.Comparison((), {}, {"pywatt": "it fell over"})
sys.argv[1:] = []
status = run.main()
print(f"tried {len(tries)} times")
sys.exit(status)
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYWATT_SIMULATED_NVML": str(library_path())}
    return subprocess.run(
        [sys.executable, *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_answers_are_right() -> None:
    done = run(str(BENCHMARKS / "run.py"), "--quick")
    assert done.returncode == 0, done.stderr
    for what in (
        "1 kHz",
        "hooks",
        "integrate",
        "ResNet-50",
        "attribute",
        "memory",
        "reading",
        "import",
        "size of the median",
    ):
        assert what in done.stdout
    assert "MISSED" not in done.stdout


def test_a_wrong_answer_fails() -> None:
    done = run("-c", WRONG_ANSWER, str(BENCHMARKS))
    assert done.returncode == 1
    assert (
        "wrong answer in integration: integrate and numpy differ by more than 1e-9" in done.stderr
    )


def test_a_target_is_missed_only_after_three_tries_and_a_met_one_stays_met() -> None:
    done = run("-c", MISSED_TARGET, str(BENCHMARKS))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "pywatt did not answer: it fell over",
        "missed in 3 tries: theirs: 5, not <= 4",
    ]
    assert "tried 3 times" in done.stdout
