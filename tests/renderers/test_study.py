"""The table of a study."""

from pathlib import Path

import pytest
from fakes.timed_studies import CHEAP, GOOD, HEAD, RECIPE, a_model, run

import pywatt

pytestmark = pytest.mark.usefixtures("own_folder", "frozen_garbage")


def test_the_table_shows_what_a_model_is_worth():
    table = run(HEAD + RECIPE + GOOD + CHEAP)
    shown = str(table)
    assert shown.startswith("timed · MEASURED with scripted")
    for words in (
        "0.7500 ± 0.1166",  # sqrt(10 / 14 * 4 / 14 / 15)
        "256 J",  # training
        "192 J",  # test
        "16 J",  # per sample
        "21.33 J",  # per correct answer
        "1st in",
        "* front     no other is better at both accuracy and energy: good, cheap",
    ):
        assert words in shown, words
    (line,) = [row for row in shown.splitlines() if row.startswith("good") and "1st" not in row][:1]
    assert "*" in line  # on the front
    assert "SAM" not in shown.split("\n\n")[1]
    assert len(shown.split("\n\n")[-1].splitlines()) <= 6


def test_explain_shows_all_of_it():
    explained = run(HEAD + RECIPE + GOOD + CHEAP).explain()
    for words in (
        "not def.",
        "Score in J",
        "Score in kWh",
        "Kendall's tau",
        "1 of 1",
        "3 s",
    ):
        assert words in explained, words
    assert "CO2e" not in explained


def test_one_that_another_beats_is_never_first():
    worse = a_model("worse", share=0.25, sample_s=4.0)
    table = run(HEAD + worse + GOOD + CHEAP)
    assert table.standing("worse").dominated_by == ("good",)
    assert set(table.standing("worse").first_shares) <= {0.0, None}
    assert table.ranking.standings[-1].name == "worse"


def test_nothing_done_is_no_table_of_zeros():
    run(HEAD + GOOD)
    Path("study.toml").write_text(HEAD + CHEAP)
    table = pywatt.Study("study.toml").table()
    assert (table.models[0].row.test_energy_j, table.ranking) == (None, None)
    assert "cheap: 0 of 1 runs are done" in table.notes
    assert "ENERGY UNAVAILABLE" in str(table)
