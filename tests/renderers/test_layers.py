"""The table of layers: its rows, how it folds, and what it does in a narrow terminal."""

import re

import pytest
from fakes.profiles import CPU, GPU, deep, layer, profile

from pywatt.renderers.profile import render


def table(result, width=140):
    return render(result, width)


def cells(text, label):
    """The cells of the row that begins with `label`."""
    row = next(line for line in text.splitlines() if line.lstrip().startswith(label))
    return re.split(r"\s{2,}", row.strip())


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


def test_estimated_is_in_title_header_and_total():
    text = table(profile(sensors=(CPU,), estimated=True))
    assert text.startswith("Net · ESTIMATED with cpu:estimated · overlap of readings\n")
    assert text.splitlines()[3].split() == ["ms", "est.", "J", "%", "est.", "J", "W"]
    assert cells(text, "total")[0] == "total, estimated"
    # An error of timing alone would read as if the estimate were that good.
    assert "50 J estimated in 1 s" in text
    assert "±" not in cells(text, "total")[2]


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


def test_energy_too_small_to_be_seen_is_not_zero():
    text = table(profile([layer("", 0, 40.0), layer("head", 1, 1e-9)]))
    assert cells(text, "head")[4].startswith("<0.001")


def test_a_rounding_error_has_no_sign():
    text = table(profile(outside_j=-1e-15))
    assert cells(text, "outside") == ["outside the modules", "0.000", "0.0"]


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
    assert re.search(r"columns +Params, Type hidden: terminal too narrow", table(deep(), width=80))
    assert "hidden" not in table(deep(), width=140)


def test_long_names_lose_their_middle():
    name = "a_very_long_name_of_a_projection_that_fits_nowhere"
    text = table(profile([layer("", 0, 10.0), layer(name, 1, 30.0)]), width=80)
    assert re.search(r"^  a_very_[a-z_]*…[a-z_]*fits_nowhere +10 ", text, re.MULTILINE)


def test_names_cannot_break_the_table():
    text = table(profile([layer("a\n\x1b[31m[bold]b", 0, 40.0, type="window")]))
    assert "a\ufffd\ufffd[31m[bold]b" in text
    assert "\x1b" not in text


def test_an_empty_profile_has_a_table():
    text = table(profile([], energy_j=0.0, outside_j=0.0, energy_j_std=0.0, duration_s=0.0))
    assert cells(text, "outside") == ["outside the modules", "0.000", "n/a"]


def test_a_layer_that_was_not_resolved_stands_in_brackets():
    layers = (
        layer("", 0, 4.0, 40.0),
        layer("body", 1, 30.0, resolved=False),
        layer("head", 1, 6.0),
    )
    text = table(profile(layers))
    assert cells(text, "body")[4] == "[30.000 ± 3.000]"
    assert text.count("± 3.000]") == 1
    # Numbers stay under numbers.
    columns = [re.search(r"\d\.000 ± ", line).end() for line in text.splitlines()[5:8]]
    assert len(set(columns)) == 1


def test_nothing_is_in_brackets_where_every_layer_was_resolved():
    assert "[" not in table(profile())


def test_a_container_that_is_never_called_has_no_row():
    layers = [layer("", 0, 10.0), layer("blocks", 1, 0.0, calls=0), layer("blocks.0", 2, 30.0)]
    text = table(profile(layers))
    assert cells(text, "blocks.0")[4] == "30.000 ± 3.000"
    assert not re.search(r"^ +blocks +", text, re.MULTILINE)
