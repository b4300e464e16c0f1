"""The comparison with other tools in `make bench`: how errors are shown, and absent tools."""

import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import peers

    return peers


def readings_of(peers, *energies_j, std_j=None):
    return [peers.Reading(2.0, energy_j, std_j) for energy_j in energies_j]


def test_errors_are_shown_by_their_size_and_their_range(peers):
    errors = peers.Errors.of(readings_of(peers, 2.02, 0.0, 3.5, None, 1.9))
    assert errors == peers.Errors(
        median_size=pytest.approx(0.4),  # of 0.01, 0.05, 0.75 and 1
        least=-1.0,
        most=0.75,
        windows=5,
        zeros=1,
        unknown=1,
        beyond=0,
    )
    assert str(errors) == "40 (-100 … +75) 1 × 0 J 1 × unknown"


@pytest.mark.parametrize(
    ("error", "shown"),
    [(0.0, "+0.00"), (-0.00994, "-0.99"), (0.00996, "+1.0"), (0.0994, "+9.9"), (1.0, "+100")],
)
def test_percentages_have_two_digits(peers, error, shown):
    from peer_cases import percent

    assert percent(error, "+") == shown


def test_a_tool_that_was_not_used_for_a_case_has_no_figure(peers):
    assert str(peers.Errors.of([])) == "–"
    assert peers.Errors.of([]).meet(0.01)


@pytest.mark.parametrize(
    ("energies_j", "std_j", "met"),
    [
        ([2.01, 2.0, 1.96], 0.1, True),
        ([2.03, 2.0, 1.96], 0.1, False),  # the median is 1.5 % off
        ([2.0, 2.0, 1.6], 0.1, False),  # one is 4 standard deviations off
        ([2.0, 2.0, 1.6], None, True),
        ([2.0, 2.0, 0.0], 1.0, False),
        ([2.0, 2.0, None], 0.1, False),
    ],
)
def test_what_pywatt_must_reach(peers, energies_j, std_j, met):
    errors = peers.Errors.of(readings_of(peers, *energies_j, std_j=std_j))
    assert errors.meet(0.01) == met
    assert errors.meet(None)


def test_only_pywatt_is_judged(peers):
    case = peers.CASES[0]
    bad = peers.Answer("1.0", (peers.Errors.of(readings_of(peers, 4.0, std_j=0.5)),))
    comparison = peers.Comparison((case,), {"pywatt": bad, "zeus": bad}, {"codecarbon": "gone"})
    assert comparison.missed() == [
        "pywatt missed in 3 tries: 50 ms in a row, all of 425 W: 100 (+100 … +100) %, 1 of them "
        "beyond three standard deviations; limit: 1.0%, and none beyond"
    ]
    assert comparison.caption() == "pywatt 1.0, zeus 1.0; codecarbon is left out: gone"
    good = peers.Answer("1.0", (peers.Errors.of(readings_of(peers, 2.0)),))
    retried = comparison.after("pywatt", peers.Comparison((case,), {"pywatt": good}, {}))
    assert retried.missed() == []
    assert retried.answers == comparison.answers, "the table shows the try beside the others"
    assert comparison.after("pywatt", peers.Comparison((case,), {}, {"pywatt": "gone"})).missed()


def test_a_plan_holds_what_would_be_played(peers):
    from peer_tools import Load

    for case in peers.CASES:
        load = Load(None, case)
        steps = load.plan(10.0)
        end_s = 10.0 + sum(duration_s for duration_s, _ in steps)
        assert len(load.spans) == case.windows
        assert load.spans[-1][1] == pytest.approx(end_s)
        assert all(end - begin == pytest.approx(case.duration_s) for begin, end in load.spans)
        assert {power_w for _, power_w in steps} <= {60.0} | {power_w for _, power_w in case.work}


def test_without_an_environment_the_others_are_left_out(peers, monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "ENVIRONMENT", tmp_path / ".venv-peers")
    comparison = peers.play(["zeus", "codecarbon"], peers.CASES)
    why = "there is no .venv-peers: make bench sets it up"
    assert comparison.absent == {"zeus": why, "codecarbon": why}
    assert comparison.answers == {}


def test_a_tool_that_could_not_be_installed_says_why(peers, monkeypatch, tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # without any package
    python.chmod(0o755)
    (tmp_path / "zeus.log").write_text("Collecting zeus\nERROR: No space left\nERROR: for help\n")
    monkeypatch.setattr(peers, "ENVIRONMENT", tmp_path)
    assert peers.play(["zeus", "codecarbon"], peers.CASES).absent == {
        "zeus": "ERROR: No space left",
        "codecarbon": "ModuleNotFoundError: No module named 'codecarbon'",
    }


@pytest.mark.alone
@pytest.mark.slow
def test_pywatt_answers_in_real_time(peers):
    cases = tuple(case for case in peers.CASES if "0.38 s" in case.name)
    (errors,) = peers.play(["pywatt"], cases).answers["pywatt"].errors
    assert (errors.windows, errors.zeros, errors.unknown) == (6, 0, 0)
    assert errors.median_size < 0.1  # on a busy machine; make bench judges


def test_every_tool_is_installed_and_pinned(peers):
    pinned = (ROOT / "constraints.txt").read_text()
    pins = {canonicalize_name(line.split("==")[0]) for line in pinned.splitlines()}
    makefile = (ROOT / "Makefile").read_text()
    others = {distribution for distribution, _ in peers.TOOLS.values()} - {"pywatt"}
    assert others <= pins
    assert f"PEER_TOOLS := {' '.join(sorted(others))}" in makefile
