"""Which rows of profiles are compared, and what they change."""

import dataclasses
import math

import pytest
from fakes.profiles import CPU, GPU, layer, profile, run, with_layers

import pywatt
from pywatt.errors import ArgumentError, FileFormatError, PywattError
from pywatt.renderers.comparison import render
from pywatt.training.result import TrainingProfile


def named(comparison, name):
    return next(row for row in comparison.layers if row.name == name)


def test_the_change_of_the_total():
    change = pywatt.compare(run(50.0, 0.3), run(54.0, 0.4)).total.change()
    assert (change.difference_j, change.difference_j_std) == (4.0, 0.5)
    assert (change.relative, change.z) == (0.08, 8.0)


def test_layers_are_matched_by_name_in_the_order_of_the_first():
    old = with_layers(layer("", 0, 4.0), layer("a", 1, 10.0), layer("b", 1, 6.0))
    new = with_layers(layer("", 0, 4.0), layer("b", 1, 9.0), layer("c", 1, 1.0))
    compared = pywatt.compare(old, new)
    assert [row.name for row in compared.layers] == ["", "a", "b", "c"]
    assert named(compared, "b").change().difference_j == 3.0
    assert named(compared, "b").change().z == pytest.approx(3.0 / math.hypot(0.6, 0.9))
    assert named(compared, "a").change() is None
    assert named(compared, "a").energies[1] is None
    assert named(compared, "c").energies[0] is None
    assert (compared.only_in(0), compared.only_in(1)) == (("a",), ("c",))


def test_layers_and_what_is_outside_add_up_to_the_total():
    compared = pywatt.compare(profile(), profile(energy_j=100.0, outside_j=60.0))
    for side in (0, 1):
        parts = [row.energies[side].energy_j for row in (*compared.layers, compared.outside)]
        assert math.fsum(parts) == compared.total.energies[side].energy_j


def test_a_window_is_not_a_module_of_the_same_name():
    both = (layer("head", 1, 6.0), layer("head", 1, 2.0, type="window"))
    compared = pywatt.compare(with_layers(*both), with_layers(*both))
    assert [row.energies[0].energy_j for row in compared.layers] == [6.0, 2.0]


def test_a_changed_type_is_said():
    compared = pywatt.compare(
        with_layers(layer("a", 1, 1.0)), with_layers(layer("a", 1, 1.0, type="Conv2d"))
    )
    assert compared.layers[0].type == "Linear -> Conv2d"


@pytest.mark.parametrize(
    ("old", "new", "per", "energy_j", "std"),
    [
        (200, 200, "run", 50.0, 0.5),
        (200, 100, "sample", 0.5, 0.005),
        (200, None, "run", 50.0, 0.5),
        (None, None, "run", 50.0, 0.5),
    ],
)
def test_energies_are_per_sample_where_samples_are_known_and_differ(old, new, per, energy_j, std):
    compared = pywatt.compare(profile(samples=old), profile(samples=new))
    assert compared.per == per
    found = compared.total.energies[1]
    assert (found.energy_j, found.energy_j_std) == (energy_j, std)
    unknown = any("number of samples is not known" in note for note in compared.notes)
    assert unknown == (new is None)
    assert f"per {per}" in str(compared)


def test_what_is_not_known_stays_unknown():
    unknown = layer("a", 1, None)
    compared = pywatt.compare(
        profile(layers=(unknown,)), profile(layers=(layer("a", 1, 5.0),), outside_j=None)
    )
    change = compared.layers[0].change()
    assert compared.layers[0].energies[0].energy_j is None
    assert [change.difference_j, change.difference_j_std, change.relative, change.z] == [None] * 4
    assert compared.outside.change().difference_j is None
    assert "n/a" in render(compared, 100)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_not_known(wrong):
    for bad in (run(wrong), run(50.0, wrong)):
        for sides in ((run(50.0), bad), (bad, run(50.0)), (run(50.0), [bad])):
            with pytest.raises(PywattError, match="cannot be judged"):
                pywatt.compare(*sides).regressions(0.05)
    for sides in ((run(50.0), [run(50.0), run(wrong)]), ([run(wrong), run(50.0)], run(50.0))):
        with pytest.raises(PywattError, match="cannot be judged"):
            pywatt.compare(*sides).regressions(0.05)
    assert pywatt.compare(run(50.0), run(wrong)).total.energies[1].energy_j is None


@pytest.mark.parametrize("wrong", [5, None, [None], [run(50.0), 5], TrainingProfile])
def test_what_is_no_side_is_refused(wrong):
    if wrong is TrainingProfile:
        wrong = object.__new__(TrainingProfile)
    with pytest.raises(ArgumentError, match=r"takes results of pywatt\.profile, .*, not \w+$"):
        pywatt.compare(run(50.0), wrong)


def test_equal_and_exact_energies():
    assert pywatt.compare(run(50.0, 0.0), run(50.0, 0.0)).total.change().z == 0.0
    assert pywatt.compare(run(50.0, 0.0), run(51.0, 0.0)).total.change().z == math.inf
    assert pywatt.compare(run(50.0, 0.0), run(49.0, 0.0)).total.change().z == -math.inf
    assert pywatt.compare(run(0.0), run(1.0)).total.change().relative is None


def test_more_than_two_profiles_are_compared_with_the_first():
    compared = pywatt.compare(run(50.0), run(55.0), run(45.0))
    assert [compared.total.change(side).relative for side in (1, 2)] == pytest.approx([0.1, -0.1])
    assert [one.side for one in compared.regressions(0.05)] == [1]


def test_files_and_profiles_are_compared_alike(tmp_path):
    profile().save(tmp_path / "old.json.gz")
    compared = pywatt.compare(tmp_path / "old.json.gz", run(55.0))
    assert [side.name for side in compared.sides] == [str(tmp_path / "old.json.gz"), "Net"]
    assert compared.total.change().difference_j == 5.0


def test_what_cannot_be_compared_is_refused(tmp_path):
    estimated = profile(estimated=True, sensors=(CPU,))
    with pytest.raises(ArgumentError, match=r"estimated .* and measured"):
        pywatt.compare(profile(), estimated)
    with pytest.raises(ArgumentError, match=r"estimated .* and measured"):
        pywatt.compare([profile(), estimated], profile())
    with pytest.raises(ArgumentError, match="two profiles"):
        pywatt.compare(profile())
    with pytest.raises(ArgumentError, match="empty list"):
        pywatt.compare(profile(), [])
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(FileFormatError, match=r"x\.json"):
        pywatt.compare(profile(), tmp_path / "x.json")


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"model": "Other"}, "different models: Net; Other"),
        ({"method": "replay"}, "different methods: overlap; replay"),
        ({"method": "time"}, "not a change of its own power"),
        (
            {"sensors": (dataclasses.replace(GPU, name="nvml:1"),)},
            "different sensors: nvml:0; nvml:1",
        ),
        (
            {"sensors": (dataclasses.replace(GPU, note="MIG"),)},
            "different sensors' own notes: none; nvml:0: MIG",
        ),
        ({"environment": {"torch": "2.14.0"}}, "different torch: 2.13.0; 2.14.0"),
        (
            {"environment": {"torch": "2.13.0", "cuda:0": "H100"}},
            "different cuda:0: not known; H100",
        ),
    ],
)
def test_what_hampers_the_comparison_is_noted(changes, note):
    compared = pywatt.compare(profile(), profile(**changes))
    assert any(note in one for one in compared.notes), compared.notes
    assert len(pywatt.compare(profile(), profile()).notes) == 2


def test_notes_say_what_the_deviations_leave_out():
    single = pywatt.compare(profile(), profile()).notes
    assert any("scale of their meter" in note for note in single)
    assert any("compare several runs" in note for note in single)
    several = pywatt.compare([run(50.0), run(51.0)], [run(50.0), run(51.0)]).notes
    assert not any("compare several runs" in note for note in several)


def test_a_comparison_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        pywatt.compare(profile(), profile()).per = "run"
