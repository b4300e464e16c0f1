import json
import re

import pytest
from profiles import CPU, GPU, layer, profile, trace

from pywatt import renderers
from pywatt.errors import ArgumentError
from pywatt.renderers.table import TableRenderer
from pywatt.support.files import from_json
from pywatt.support.quantities import Scale, count, quantity, with_std


def table(result, width=140, **options):
    return TableRenderer(width=width, **options).render(result)


def cells(text, label):
    """The cells of the row that begins with `label`."""
    row = next(line for line in text.splitlines() if line.lstrip().startswith(label))
    return re.split(r"\s{2,}", row.strip())


def deep(blocks=60):
    """A tree as deep as a ResNet's; the convolutions of later blocks take more."""
    stages = "resnet.encoder.stages.2"
    layers = [
        layer("", 0, 0.5),
        layer("resnet", 1, 0.25),
        layer("resnet.encoder", 2, 0.25),
        layer("resnet.encoder.stages", 3, None, calls=0, type="ModuleList"),
        layer(stages, 4, 0.125),
    ]
    for block in range(blocks):
        name = f"{stages}.layers.{block}"
        layers += [
            layer(name, 5, 0.0625),
            layer(f"{name}.layer.1.convolution", 6, 1.0 + block / 64),
            layer(f"{name}.layer.1.activation", 6, 0.03125),
        ]
    inside = sum(each.self_energy_j or 0 for each in layers)
    return profile(layers, model="ResNet", energy_j=inside + 2.0, outside_j=2.0)


def test_the_rows_are_the_layers_outside_and_the_total():
    text = table(profile(outside_j_std=1.5))
    assert cells(text, "Net  ") == [
        "Net", "Net", "10", "100.0", "4.000 ± 0.400", "8.0", "40.000", "400.0", "1.2 M",
    ]  # fmt: skip
    assert cells(text, "body") == [
        "body", "Linear", "10", "100.0", "30.000 ± 3.000", "60.0", "30.000", "300.0", "100",
    ]  # fmt: skip
    assert cells(text, "outside") == ["outside the modules", "10.000 ± 1.500", "20.0"]
    assert cells(text, "total") == ["total", "1,000.0", "50.000 ± 0.500", "100.0", "50.0"]


def test_the_lines_below_say_what_came_out():
    text = table(profile())
    for line in (
        "energy    50.00 ± 0.50 J measured in 1 s, 50 W on average",
        "samples   200 in 10 batches, 250 mJ each, measured",
        "accuracy  0.8000",
        "score     1.6210 (penalized_score, from the measured J per sample)",
        "sensor    nvml:0, measured, 50 J, about 1,000 readings at 1,000 of 1,000 Hz, "
        "longest gap 2.1 ms, 2 failed",
        "method    overlap: the sensor is finer than the layers",
        "note      warmed up",
    ):
        assert line in text.splitlines()
    assert re.search(r"^SAM +not defined: SAM needs more than 1 kWh", text, re.MULTILINE)


def test_what_is_not_known_is_said():
    text = table(profile(accuracy=None, samples=None, energy_by_sensor={"nvml:0": None}))
    assert "accuracy  not known" in text
    assert "samples   not known, in 10 batches" in text
    assert "score     not defined: the accuracy is not known" in text
    assert "nvml:0, measured, energy n/a" in text


def test_sam_is_shown_where_it_is_defined():
    assert "SAM       1.6384 (from the measured kWh)" in table(profile(energy_j=36e6))


def test_measured_is_in_plain_sight():
    text = table(profile())
    assert text.startswith("Net · MEASURED with nvml:0 · method: overlap\n")
    assert "est" not in text.replace("longest", "")


def test_estimated_is_in_title_header_and_total():
    text = table(profile(sensors=(CPU,), estimated=True))
    assert text.startswith("Net · ESTIMATED with cpu:estimated, not measured · method: overlap\n")
    assert text.splitlines()[3].split() == ["ms", "est.", "J", "%", "est.", "J", "W"]
    assert cells(text, "total")[0] == "total, estimated"
    # An error of timing alone would read as if the estimate were that good.
    assert "50 J estimated in 1 s" in text


def test_estimated_figures_among_measured_ones_are_marked():
    layers = [layer("a", 0, 30.0), layer("b", 0, 10.0, device="cpu")]
    text = table(profile(layers, sensors=(GPU, CPU), estimated=True))
    assert text.startswith(
        "Net · PARTLY ESTIMATED: ~ with cpu:estimated, the rest measured with nvml:0"
    )
    assert cells(text, "a  ")[4] == "30.000 ± 3.000"
    assert cells(text, "b  ")[4] == "~10.000 ± 1.000"
    assert cells(text, "b  ")[6] == "~10.000"
    assert cells(text, "total")[0] == "total, partly estimated"


def test_energy_that_is_not_known_is_not_zero():
    text = table(profile([layer("", 0, 40.0), layer("head", 1, None, device="mps")]))
    assert cells(text, "head")[4:8] == ["n/a", "n/a", "n/a", "n/a"]
    assert "n/a       no sensor gives the energy of 1 module" in text


def test_energy_too_small_to_be_seen_is_not_zero():
    text = table(profile([layer("", 0, 40.0), layer("head", 1, 1e-9)]))
    assert cells(text, "head")[4].startswith("<0.001")


def test_a_rounding_error_has_no_sign():
    text = table(profile(outside_j=-1e-15))
    assert cells(text, "outside") == ["outside the modules", "0.000", "0.0"]


def test_modules_that_never_ran_are_named_below():
    never = [layer(f"aux.{i}", 1, None, calls=0) for i in range(5)]
    nested = layer("aux.0.inner", 2, None, calls=0)
    text = table(profile([layer("", 0, 40.0), never[0], nested, *never[1:]]))
    assert "not called  aux.0, aux.1, aux.2 and 2 more" in text
    assert "n/a" not in text


def test_names_are_short_under_their_parents():
    layers = [
        layer("", 0, 10.0),
        layer("encoder", 1, 10.0),
        layer("encoder.layers", 2, None, calls=0, type="ModuleList"),
        layer("encoder.layers.0", 3, 10.0),
        layer("encoder.layers.0.attention", 4, 10.0),
    ]
    lines = table(profile(layers)).splitlines()
    labels = [line[:20].rstrip() for line in lines[5:9]]
    assert labels == ["Net", "  encoder", "    layers.0", "      attention"]


def test_a_window_around_the_model_is_its_parent():
    layers = [layer("prefill", 0, 10.0, type="window"), layer("", 1, 30.0)]
    lines = table(profile(layers)).splitlines()
    assert [line.split("   ")[0].rstrip() for line in lines[5:7]] == ["prefill", "  Net"]


def test_all_layers_are_shown_where_they_fit():
    layers = [layer("", 0, 1.0)] + [layer(str(i), 1, 1.0) for i in range(39)]
    assert "more module" not in table(profile(layers))


def test_a_large_tree_is_folded_to_40_rows_that_add_up():
    result = deep()
    text = table(result)
    lines = text.splitlines()
    rules = [i for i, line in enumerate(lines) if line.startswith("──")]
    rows = lines[rules[0] + 1 : rules[1]]
    assert len(rows) == 41  # 39 layers, the fold, outside the modules
    assert rows[0].startswith("ResNet ")
    energies = [float(re.split(r"\s{2,}", row.strip())[4].split(" ±")[0]) for row in rows[:39]]
    fold = cells(text, "…")
    outside = cells(text, "outside")
    assert fold[0] == f"… {len(result.layers) - 1 - 39} more modules"
    total = sum(energies) + float(fold[1]) + float(outside[1])
    assert total == pytest.approx(result.energy_j, abs=41 * 0.0005)
    assert float(cells(text, "total")[2].split(" ±")[0]) == pytest.approx(result.energy_j, abs=5e-4)


def test_the_largest_are_kept():
    text = table(deep())
    assert "layers.59.layer.1.convolution" in text
    assert "layers.3.layer.1.convolution" not in text
    assert "activation" not in text


@pytest.mark.parametrize("width", [10, 40, 60, 80, 100, 140])
def test_no_width_cuts_a_number(width):
    text = table(deep(), width=width)
    for number in ("1.922 ± 0.192", "96.406 ± 0.500"):
        assert number in text


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_longer_than_the_width(width):
    assert max(map(len, table(deep(), width=width).splitlines())) <= width


def test_a_narrow_table_says_what_it_leaves_out():
    assert re.search(r"columns +Params, Type left out", table(deep(), width=80))
    assert "left out" not in table(deep(), width=140)


def test_long_names_lose_their_middle():
    name = "a_very_long_name_of_a_projection_that_fits_nowhere"
    text = table(profile([layer("", 0, 10.0), layer(name, 1, 30.0)]), width=80)
    assert re.search(r"^  a_very_[a-z_]*…[a-z_]*fits_nowhere +10 ", text, re.MULTILINE)


def test_names_cannot_break_the_table():
    text = table(profile([layer("a\n\x1b[31m[bold]b", 0, 40.0, type="window")]))
    assert "a\ufffd\ufffd[31m[bold]b" in text
    assert "\x1b" not in text


def test_printing_uses_the_terminals_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert str(deep()) == table(deep(), width=80)


def test_a_pipe_is_100_wide(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.__stdout__", None)
    assert str(deep()) == table(deep(), width=100)


def test_an_empty_profile_has_a_table():
    text = table(profile([], energy_j=0.0, outside_j=0.0, energy_j_std=0.0, duration_s=0.0))
    assert cells(text, "outside") == ["outside the modules", "0.000", "n/a"]


def test_a_trace_beside_the_sensors_is_listed():
    other = type(GPU)("nvml:0/energy", kind="counter", domain="gpu")
    traces = {"nvml:0": trace(GPU), "nvml:0/energy": trace(other)}
    text = table(profile(traces=traces, energy_by_sensor={"nvml:0": 50.0, "nvml:0/energy": 49.0}))
    assert "beside    nvml:0/energy, measured, 49 J" in text


def test_html_is_escaped():
    html = profile([layer("<b>", 0, 40.0)])._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_the_json_renderer_writes_what_load_reads_without_readings():
    text = renderers.get("json").render(profile())
    assert json.loads(text)["profile"]["traces"] == {}
    assert from_json(text) == profile()


def test_an_unknown_renderer_names_those_there_are():
    with pytest.raises(ArgumentError, match="'table', 'json'"):
        renderers.get("csv")


@pytest.mark.parametrize(
    ("largest", "unit", "decimals", "text"),
    [
        (50.0, "J", 3, "50.000"),
        (5.0, "mJ", 1, "5,000.0"),
        (0.05, "mJ", 3, "50.000"),
        (5e-3, "µJ", 1, "5,000.0"),
        (3e-6, "µJ", 3, "3.000"),
        (0.0, "J", 3, "0.000"),
        (1234567.8, "J", 0, "1,234,568"),
    ],
)
def test_one_unit_for_a_column(largest, unit, decimals, text):
    scale = Scale.of(largest, "J")
    assert (scale.unit, scale.decimals, scale.text(largest)) == (unit, decimals, text)


@pytest.mark.parametrize(
    ("number", "std", "text"),
    [
        (65.2134, 0.43, "65.21 ± 0.43 J"),
        (65.2134, 12.0, "65 ± 12 J"),
        (0.0652134, 0.00043, "65.21 ± 0.43 mJ"),
        (65.2134, 0.0, "65.21 J"),
        (65.2134, None, "65.21 J"),
        (7.772028, 1e-9, "7.772028 ± <0.000001 J"),
    ],
)
def test_the_uncertainty_decides_the_digits(number, std, text):
    assert with_std(number, std, "J") == text


def test_short_numbers():
    assert quantity(12345.6, "J") == "12,346 J"
    assert quantity(0.0021, "s") == "2.1 ms"
    assert [count(n) for n in (0, 999, 25_557_032)] == ["0", "999", "25.6 M"]


def test_a_layer_whose_power_could_not_be_told_is_marked():
    layers = (
        layer("", 0, 4.0, 40.0),
        layer("body", 1, 30.0, resolved=False),
        layer("head", 1, 6.0),
    )
    text = str(profile(layers))
    marked = [line for line in text.splitlines() if "30.000 ± 3.000†" in line]
    assert len(marked) == 1
    assert "body" in marked[0]
    assert text.count("†") == 2
    assert "†         power not told from that of others" in text


def test_nothing_is_marked_where_every_power_was_told():
    assert "†" not in str(profile())


def test_the_closure_of_a_replay_is_shown():
    text = str(profile(method="replay", closure=0.9968, closure_std=0.0031))
    assert "closure   0.9968 ± 0.0031, measured energy over what replay tells of the run" in text
    assert "closure" not in str(profile())
