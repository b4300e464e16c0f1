"""What stands around the table of a profile, and what only `explain` says."""

import json
import re

import pytest
from fakes.profiles import CPU, GPU, deep, layer, profile, trace

from pywatt.renderers.profile import explain, render
from pywatt.support.files import dumped, loads


def below(result, width=140):
    """The lines below the table."""
    return render(result, width).split("\n\n")[-1].splitlines()


def facts(result, width=140):
    return explain(result, width).splitlines()


def test_measured_is_in_plain_sight():
    text = render(profile(), 140)
    assert text.startswith("Net · MEASURED with nvml:0 · overlap of readings\n")
    assert "est" not in text


def test_the_lines_below_the_table():
    assert below(profile()) == [
        "energy      50.00 ± 0.50 J measured in 1 s, 50 W on average",
        "per sample  250 mJ (200 samples in 10 batches)",
        "accuracy    0.8000, score 1.6210",
        "layers      all 3 resolved",
        "note        warmed up",
    ]


def test_what_is_not_known_has_no_line():
    lines = below(profile(accuracy=None, samples=None))
    assert [line.split()[0] for line in lines] == ["energy", "layers", "note"]


def test_an_energy_that_is_not_known_is_said():
    assert below(profile(energy_j=None, outside_j=None))[0] == "energy      unavailable in 1 s"


def test_sam_is_shown_where_it_is_defined():
    assert any(line.endswith(", SAM 1.6384") for line in below(profile(energy_j=36e6)))
    assert "SAM" not in render(profile(), 140)


def test_energy_per_unit_takes_the_place_of_that_per_sample():
    lines = below(profile(unit="token", units=4000))
    assert lines[1] == "per token   12.5 mJ (4,000 tokens)"
    assert not any(line.startswith("per sample") for line in lines)


def test_how_well_layers_were_resolved_is_one_line():
    layers = (
        layer("", 0, 4.0, 40.0),
        layer("body", 1, 30.0, resolved=False),
        layer("head", 1, 6.0),
    )
    expected = "1 of 3 [not resolved], 60 % of the energy: mostly run time"
    assert f"layers      {expected}" in below(profile(layers))


def test_an_estimate_says_how_far_its_scale_may_be_off():
    sensor = type(CPU)(CPU.name, device="cpu", estimated=True, note="from CPU time", scale_std=0.45)
    found = profile(sensors=(sensor,), estimated=True, notes=("cpu:estimated: from CPU time",))
    text = render(found, 140)
    assert text.startswith("Net · ESTIMATED (±45 %) with cpu:estimated · overlap of readings\n")
    assert "from CPU time" not in text
    assert any(line.endswith("from CPU time") for line in facts(found))


def test_the_caveat_of_a_meter_is_shown_once_and_first():
    caveat = "power of the whole card, not of the MIG slice"
    power = type(GPU)("nvml:0", domain="gpu", note=caveat, source="nvml:0")
    counter = type(GPU)("nvml:0/energy", kind="counter", domain="gpu", note=caveat, source="nvml:0")
    assert below(profile(sensors=(counter, power)))[4:] == [
        f"note        nvml:0: {caveat}",
        "note        warmed up",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
@pytest.mark.parametrize("notes", [0, 1, 2, 5])
def test_there_are_at_most_six_lines(width, notes):
    long = "says more than fits into one line "
    texts = tuple(f"note {k} " + long * (k + 1) for k in range(notes))
    lines = below(deep(notes=texts, unit="token", units=400), width)
    assert len(lines) <= 6
    if notes == 5:
        assert re.match(r" +[45] more, and all in full:", lines[-1])


def test_the_first_notes_are_shown_the_others_counted():
    texts = ("the run ended early with ValueError: this is what was measured", *"abcd")
    assert below(profile(notes=texts))[4:] == [
        f"note        {texts[0]}",
        "            4 more, and all in full: explain(), or pywatt show FILE --explain",
    ]


def test_explain_says_all():
    lines = facts(profile())
    for line in (
        "Net · MEASURED with nvml:0 · overlap of readings",
        "energy      50.00 ± 0.50 J measured in 1 s, 50 W on average",
        "samples     200 in 10 batches, 250 mJ each, measured",
        "accuracy    0.8000",
        "score       1.6210 (penalized_score of the measured J per sample)",
        "sensor      nvml:0, measured, 50 J, about 1,000 readings at 1,000 of 1,000 Hz, "
        "longest gap 2.1 ms, 2 failed",
        "method      overlap: the sensor is finer than the layers",
        "note        warmed up",
        "torch       2.13.0",
    ):
        assert line in lines
    sam = "SAM         not defined: SAM needs more than 1 kWh"
    assert any(line.startswith(sam) for line in lines)


def test_explain_says_what_is_not_known():
    lines = facts(profile(accuracy=None, samples=None, energy_by_sensor={"nvml:0": None}))
    assert "accuracy    not known" in lines
    assert "samples     not known, in 10 batches" in lines
    assert "score       not defined: the accuracy is not known" in lines
    assert any(line.startswith("sensor      nvml:0, measured, energy n/a") for line in lines)


def test_explain_shows_sam_where_it_is_defined():
    assert "SAM         1.6384 (of the measured kWh)" in facts(profile(energy_j=36e6))


def test_explain_names_modules_that_never_ran():
    never = [layer(f"aux.{i}", 1, 0.0, calls=0) for i in range(5)]
    nested = layer("aux.0.inner", 2, 0.0, calls=0)
    lines = facts(profile([layer("", 0, 40.0), never[0], nested, *never[1:]]))
    assert "not called  aux.0, aux.1, aux.2 and 2 more" in lines


def test_explain_counts_modules_without_an_energy():
    lines = facts(profile([layer("", 0, 40.0), layer("head", 1, None, device="mps")]))
    assert "n/a         no sensor gives the energy of 1 module" in lines


def test_explain_lists_a_trace_beside_the_sensors():
    other = type(GPU)("nvml:0/energy", kind="counter", domain="gpu")
    traces = {"nvml:0": trace(GPU), "nvml:0/energy": trace(other)}
    found = profile(traces=traces, energy_by_sensor={"nvml:0": 50.0, "nvml:0/energy": 49.0})
    beside = "beside      nvml:0/energy, measured, 49 J"
    assert any(line.startswith(beside) for line in facts(found))


def test_explain_compares_what_replay_predicts_with_what_was_measured():
    found = profile(method="replay", closure=0.9968, closure_std=0.0031)
    check = "check       measured / predicted energy 0.9968 ± 0.0031 (1 is ideal)"
    assert check in facts(found)
    assert "predicted" not in explain(profile(), 140)
    assert render(found, 140).startswith("Net · MEASURED with nvml:0 · replay of layers\n")


def test_explain_is_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert profile().explain() == explain(profile(), 80)


def test_printing_uses_the_terminals_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert str(deep()) == render(deep(), 80)


def test_a_pipe_is_100_wide(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.__stdout__", None)
    assert str(deep()) == render(deep(), 100)


def test_html_is_escaped():
    html = profile([layer("<b>", 0, 40.0)])._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_to_dict_without_readings_is_what_loads_reads():
    text = dumped(profile().to_dict(traces=False))
    assert json.loads(text)["profile"]["traces"] == {}
    assert loads(text) == profile()
