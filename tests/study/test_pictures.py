import itertools
import math
import random
import sys
import xml.etree.ElementTree
from dataclasses import replace

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.transforms import Bbox

from pywatt.errors import ArgumentError
from pywatt.study import pictures
from pywatt.study.pictures.canvas import DARK, LIGHT
from pywatt.study.ranking import ranking
from pywatt.study.row import StudyRow


def row(name, accuracy, energy_j, **changes):
    fields = {
        "name": name,
        "accuracy": accuracy,
        "accuracy_std": 0.004,
        "test_energy_j": energy_j,
        "test_energy_j_std": None if energy_j is None else 0.02 * energy_j,
        "samples": 1000,
        "train_energy_j": None if energy_j is None else 50.0 * energy_j,
        "train_energy_j_std": energy_j,
        "parameters": 100_000,
        "estimated": False,
    }
    return StudyRow(**fields | changes)


FEW = [
    row("logistic regression", 0.95, 0.01, parameters=650),
    row("MLP", 0.97, 0.03),
    row("small CNN", 0.985, 0.3),
    row("small ViT", 0.95, 1.2),
    row("k nearest neighbors", 0.987, 0.9, train_energy_j=None, parameters=None),
]


def crowd(seed):
    random.seed(seed)
    return [
        row(
            f"resnet{layers}-{kind}",
            0.7 + 0.002 * layers**0.8 + random.uniform(-0.02, 0.02),
            1000 * layers * random.uniform(0.7, 1.6),
            parameters=layers * 10**6,
            estimated=kind == "b",
        )
        for layers in (18, 34, 50, 101, 152)
        for kind in "abc"
    ]


def alike():
    """Long names on figures that hardly differ: no place for all of them in the picture."""
    kinds = ("vision-transformer-base-patch16-224", "resnet-101-wide-pretrained-imagenet21k")
    return [
        row(
            f"{kinds[i % 2]} on cuda:{i}", 0.9 + 0.0005 * i, 500.0 + i, parameters=10 ** (5 + i % 4)
        )
        for i in range(12)
    ]


def drawn(figure):
    """All texts of a figure that are drawn, with their boxes in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    hidden = [
        label
        for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis)
        for label, place in zip(axis.get_ticklabels(), axis.get_majorticklocs(), strict=True)
        if not min(axis.get_view_interval()) <= place <= max(axis.get_view_interval())
    ]
    texts = [t for t in figure.findobj(matplotlib.text.Text) if t.get_visible() and t.get_text()]
    return [(t, t.get_window_extent(renderer)) for t in texts if t not in hidden]


def shown(figure):
    return [text.get_text() for text, _ in drawn(figure)]


def of_all(rows, *, dark=False):
    ranked = ranking(rows, draws=20)
    return [
        pictures.accuracy_against_energy(rows, dark=dark),
        pictures.energy_bars(rows, dark=dark),
        pictures.score_bars(ranked, dark=dark),
        pictures.rank_stability(ranked, dark=dark),
    ]


@pytest.mark.parametrize(
    "rows",
    [FEW, crowd(3), FEW[:1], alike(), [replace(one, train_extrapolated=True) for one in alike()]],
    ids=["few", "many", "one", "alike", "extrapolated"],
)
def test_no_text_covers_another_or_leaves_the_picture(rows):
    for figure in of_all(rows):
        boxes = drawn(figure)
        for (one, box), (other, box2) in itertools.combinations(boxes, 2):
            assert not box.overlaps(box2), (one.get_text(), other.get_text())
        for text, box in boxes:
            assert Bbox.intersection(box, figure.bbox).size == pytest.approx(box.size), (
                text.get_text()
            )


@pytest.mark.parametrize("rows", [*map(crowd, range(4)), alike()])
def test_no_name_covers_a_bubble(rows):
    figure = pictures.accuracy_against_energy(rows)
    (axes,) = figure.axes
    # Names beside their bubbles, or numbers there and names beside the axes.
    boxes = [box for text, box in drawn(figure) if text in axes.texts]
    assert len(boxes) == len(rows)
    named = [text for text in shown(figure) if any(text.endswith(one.name) for one in rows)]
    assert len(named) == len(rows)
    bubbles = [c for c in axes.collections if hasattr(c, "get_sizes")]
    assert len(bubbles) == len(rows)
    for bubble in bubbles:
        x, y = axes.transData.transform(bubble.get_offsets()[0])
        radius = math.sqrt(bubble.get_sizes()[0]) / 2 * figure.dpi / 72
        around = Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)
        assert not any(box.overlaps(around) for box in boxes)


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read_on_its_ground(dark):
    colors = DARK if dark else LIGHT

    def luminance(color):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, other):
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    scatter, energy, score, ranks = of_all(FEW, dark=dark)
    for figure in (scatter, energy, score, ranks):
        assert to_hex(figure.get_facecolor()) == colors.ground
        cells = figure.axes[0].texts if figure is ranks else []
        for text, _ in drawn(figure):
            if text not in cells:
                assert contrast(text.get_color(), colors.ground) >= 7.0
    (axes,) = ranks.axes
    (image,) = axes.images
    for text in axes.texts:
        x, y = text.get_position()
        if text.get_text().isdigit():
            cell = image.cmap(image.norm(image.get_array()[int(y), int(x)]))
            assert contrast(text.get_color(), cell) >= 4.0
    for meaning in (colors.first, colors.second):
        assert contrast(meaning, colors.ground) >= 2.0


def test_axes_have_names_and_units():
    scatter, energy, score, ranks = (figure.axes[0] for figure in of_all(FEW))
    assert scatter.get_xlabel() == "energy per sample, measured (J, log scale)"
    assert scatter.get_xscale() == "log"
    assert scatter.get_ylabel() == "accuracy"
    assert energy.get_xlabel() == "energy, measured (J)"
    assert "penalized_score of J per sample" in score.get_xlabel()
    assert "alpha" in ranks.get_xlabel()


def test_the_front_is_filled_and_the_others_are_not():
    (axes,) = pictures.accuracy_against_energy(FEW).axes
    bubbles = [c for c in axes.collections if hasattr(c, "get_sizes")]
    fills = {
        one.name: to_hex(bubble.get_facecolor()[0])
        for one, bubble in zip(FEW, bubbles, strict=True)
    }
    assert fills.pop("small ViT") == LIGHT.ground
    assert set(fills.values()) == {LIGHT.first}
    line = axes.lines[0]
    assert list(line.get_ydata()) == [0.95, 0.97, 0.985, 0.987]


def test_what_cannot_be_named_in_place_has_numbers_from_the_most_accurate_on():
    rows = alike()
    figure = pictures.accuracy_against_energy(rows)
    (axes,) = figure.axes
    assert {text.get_text() for text in axes.texts} == {str(place) for place in range(1, 13)}
    for place, one in enumerate(sorted(rows, key=lambda one: -one.accuracy), 1):
        assert f"{place}  {one.name}" in shown(figure)


@pytest.mark.parametrize("many", [False, True], ids=["named", "numbered"])
def test_a_name_is_no_math(many, tmp_path):
    rows = [row("$bad^^$", 0.8, 1.0), row("a $1$ b", 0.9, 2.0), row("$ $lone", None, None)]
    rows += alike() * many
    literal = [one.name.replace("$", r"\$") for one in rows]
    for index, figure in enumerate(of_all(rows)):
        texts = "\n".join(shown(figure))
        assert all(name in texts for name in literal[:2])
        pictures.save(figure, tmp_path / f"{index}.svg")
        assert "<!-- $bad^^$ -->" in (tmp_path / f"{index}.svg").read_text() or many
    assert all(literal[2] in "\n".join(shown(figure)) for figure in of_all(rows)[:2])


def test_accuracy_is_drawn_from_0_to_1():
    rows = [row("none", 0.0, 1.0, accuracy_std=0.3), row("all", 1.0, 2.0, accuracy_std=0.3)]
    (axes,) = pictures.accuracy_against_energy(rows).axes
    assert axes.get_ylim() == (-0.05, 1.05)
    bars = [tuple(line[:, 1]) for bar in axes.containers for line in bar[2][1].get_segments()]
    assert bars == [(0.0, 0.3), (0.7, 1.0)]
    close = [row("a", 0.5, 1.0, accuracy_std=0.0), row("b", 0.6, 2.0, accuracy_std=0.0)]
    (axes,) = pictures.accuracy_against_energy(close).axes
    assert axes.get_ylim() == pytest.approx((0.485, 0.615))


def test_bubbles_grow_with_parameters():
    rows = [row("a", 0.8, 1.0, parameters=10), row("b", 0.9, 2.0, parameters=1000)]
    rows.append(row("c", 0.95, 3.0, parameters=100_000))
    (axes,) = pictures.accuracy_against_energy(rows).axes
    sizes = [c.get_sizes()[0] for c in axes.collections if hasattr(c, "get_sizes")]
    assert sizes == [40.0, 270.0, 500.0]


def test_energy_bars_are_training_and_then_test():
    (axes,) = pictures.energy_bars(FEW[:2]).axes
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    assert [x for span in spans for x in span] == pytest.approx(
        [0.0, 0.5, 0.0, 1.5, 0.5, 0.51, 1.5, 1.53]
    )
    assert "train 500 mJ + test 10 mJ" in shown(axes.figure)
    (axes,) = pictures.energy_bars(FEW[-1:]).axes
    assert "train n/a + test 900 mJ" in shown(axes.figure)


def test_score_bars_say_how_often_each_is_first():
    (axes,) = pictures.score_bars(ranking([FEW[0], FEW[2]], draws=50)).axes
    beside = [text.get_text() for text in axes.texts]
    assert beside[0].endswith("1st in 100 %")
    assert beside[1].endswith("1st in 0 %")


def test_the_heat_map_holds_the_ranks():
    ranked = ranking(crowd(1), draws=5)
    (axes,) = pictures.rank_stability(ranked).axes
    (image,) = axes.images
    # score in J, Wh, kWh and sam in J and Wh, each with four exponents; sam in kWh is not defined
    assert image.get_array().shape == (15, 20)
    default = [labels.get_text() for labels in axes.get_xticklabels()].index("5")
    assert list(image.get_array()[:, default]) == list(range(1, 16))
    assert "sam in kWh is not defined" in " ".join(shown(axes.figure))


def test_what_is_estimated_is_said():
    estimated = [row("a", 0.8, 1.0, estimated=True), row("b", 0.9, 2.0, estimated=True)]
    mixed = [estimated[0], row("c", 0.9, 2.0)]
    assert "estimated" in pictures.accuracy_against_energy(estimated).axes[0].get_xlabel()
    assert "partly estimated" in pictures.energy_bars(mixed).axes[0].get_xlabel()
    assert "diamonds are estimated" in pictures.accuracy_against_energy(mixed).axes[0].get_xlabel()
    assert sum(text.endswith(", estimated") for text in shown(pictures.energy_bars(mixed))) == 1


def test_what_is_extrapolated_is_said():
    rows = [row("a", 0.8, 1.0, train_extrapolated=True), row("b", 0.9, 2.0)]
    rows.append(row("c", 0.9, 3.0, train_energy_j=None, train_extrapolated=True))
    figure = pictures.energy_bars(rows)
    assert figure.axes[0].get_xlabel() == "energy, measured, training partly extrapolated (J)"
    assert "train 50 J (extrapolated) + test 1 J" in shown(figure)
    assert "train 100 J + test 2 J" in shown(figure)
    assert "train n/a + test 3 J" in shown(figure)
    (axes,) = pictures.energy_bars(rows[:1]).axes
    assert axes.get_xlabel() == "energy, measured, training extrapolated (J)"


def test_what_is_not_known_is_named():
    rows = [*FEW, row("broken", None, None)]
    for figure in (pictures.accuracy_against_energy(rows), pictures.energy_bars(rows)):
        assert "not known, so not shown: broken" in shown(figure)
    for draw in (pictures.accuracy_against_energy, pictures.energy_bars):
        with pytest.raises(ArgumentError, match="no model"):
            draw(rows[-1:])


def test_pictures_are_saved_as_png_and_svg(tmp_path):
    figure = pictures.energy_bars(FEW)
    pictures.save(figure, tmp_path / "energy.png")
    assert (tmp_path / "energy.png").read_bytes().startswith(b"\x89PNG\r\n")
    pictures.save(figure, tmp_path / "energy.svg")
    assert xml.etree.ElementTree.parse(tmp_path / "energy.svg").getroot().tag.endswith("svg")
    with pytest.raises(ArgumentError, match=r"\.png or \.svg"):
        pictures.save(figure, tmp_path / "energy.bmp")


@pytest.mark.parametrize("absent", ["matplotlib.figure", "textalloc"])
def test_without_the_extra_the_remedy_is_named(absent, monkeypatch):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ImportError, match=r"pip install 'pywatt\[report\]'"):
        pictures.accuracy_against_energy(FEW)
