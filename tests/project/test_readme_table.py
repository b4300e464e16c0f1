"""README's example beside the truth: the same figures whenever it is made again."""

from pathlib import Path

import numpy as np
import pytest
from fakes.simulated_model import FollowedClock, Passes, Verdict, kernels

import pywatt

README = Path(__file__).resolve().parents[2] / "README.md"

pytestmark = pytest.mark.skipif(not README.exists(), reason="the tests lie outside of a clone")


def test_layers_on_the_simulated_card_beside_their_true_energies(gpus):
    gpus.configure(phase_s=0.03, counter_phase_s=0.07, noise_w=1.0, update_jitter_s=0.001)
    clock = FollowedClock(gpus)
    model = kernels(gpus, 8, clock=clock, seed=3)
    passes = Passes(model, 3.0)
    found = pywatt.profile(model, passes, sensors="nvml:0", clock=clock, budget_s=12)
    verdict = Verdict.of(found, passes)
    rows = [row for row in found.layers if row.name]
    by_time_j = found.energy_j * np.array([row.time_s for row in rows]) / found.duration_s
    lines = []
    for kernel, truth_j, row, time_j in zip(model, verdict.truth_j, rows, by_time_j, strict=True):
        call = f"{1e6 * kernel.duration_s:.0f} µs at {kernel.power_w:.0f} W"
        found_j = f"{row.self_energy_j:.2f} ± {row.self_energy_j_std:.2f}"
        lines.append(f"| {call} | {truth_j:.2f} | {found_j} | {time_j:.2f} |")
    wrong = np.sum(np.abs(by_time_j - verdict.truth_j)) / np.sum(verdict.truth_j)
    shares = [f"{100 * share:.2f} %" for share in (verdict.misattributed, wrong)]
    lines.append(f"| on the wrong layer | | {shares[0]} | {shares[1]} |")
    calls = {row.calls for row in rows}
    assert calls == {2889}
    lines.append(f"true energy of its {calls.pop():,} calls, J")
    text = README.read_text()
    for line in lines:
        assert line in text, "\n".join(lines)
