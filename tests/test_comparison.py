import dataclasses
import json
import math

import pytest
from profiles import CPU, GPU, layer, profile

import pywatt
from pywatt import cli
from pywatt.comparison.significance import as_z, of_many
from pywatt.errors import ArgumentError, FileFormatError, PywattError
from pywatt.renderers.comparison import render
from pywatt.training.result import TrainingProfile


def run(energy_j, std=0.5, **changes):
    return profile(energy_j=energy_j, energy_j_std=std, **changes)


def with_layers(*layers):
    return profile(layers=layers)


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
    assert "n/a" in render(compared)


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
    with pytest.raises(ArgumentError, match=r"takes what pywatt\.profile gives, .*, not \w+$"):
        pywatt.compare(run(50.0), wrong)


def test_equal_and_exact_energies():
    assert pywatt.compare(run(50.0, 0.0), run(50.0, 0.0)).total.change().z == 0.0
    assert pywatt.compare(run(50.0, 0.0), run(51.0, 0.0)).total.change().z == math.inf
    assert pywatt.compare(run(50.0, 0.0), run(49.0, 0.0)).total.change().z == -math.inf
    assert pywatt.compare(run(0.0), run(1.0)).total.change().relative is None


def test_runs_of_one_side_are_averaged_and_their_spread_counts():
    compared = pywatt.compare([run(49.0), run(51.0)], run(60.0, 3.0))
    old, new = compared.total.energies
    assert (old.energy_j, old.freedom) == (50.0, 1.0)
    assert old.energy_j_std == pytest.approx(1.0)  # sqrt(2) / sqrt(2)
    assert (new.energy_j_std, new.freedom) == (3.0, math.inf)  # more than runs differ
    # 10 / sqrt(10) standard deviations of 1 / (1/10)^2 = 100 degrees of freedom: chance does that
    # in 0.104 % of cases, and so does a normal deviate above 3.08.
    assert compared.total.change().z == pytest.approx(3.0793, abs=1e-3)


def test_a_single_run_differs_as_much_as_those_of_the_other_side():
    compared = pywatt.compare([run(49.0, 0.0), run(50.0, 0.0), run(51.0, 0.0)], run(55.0, 0.0))
    old, new = compared.total.energies
    assert old.energy_j_std == pytest.approx(1.0 / math.sqrt(3.0))
    assert new.energy_j_std == pytest.approx(0.02 * 55.0)
    # One spread of three runs is all that is known: 2 degrees of freedom, not Welch's 2.9. Chance
    # exceeds t = 5 / 1.2423 in 2.83 % of cases.
    assert compared.total.change().z == pytest.approx(1.9068, abs=5e-4)
    assert not any("one run a side" in note for note in compared.notes)


def test_the_spread_of_runs_can_be_given():
    compared = pywatt.compare(run(50.0, 0.1), run(54.0, 0.1), run_spread=0.03)
    change = compared.total.change()
    assert (change.old.energy_j_std, change.new.energy_j_std) == (1.5, pytest.approx(1.62))
    assert change.z == pytest.approx(4.0 / math.hypot(1.5, 1.62))
    assert not compared.regressions(0.05)
    assert pywatt.compare(run(50.0, 0.1), run(54.0, 0.1)).regressions(0.05)
    # It is no more than the measurement's own, and does not replace the spread that is known.
    assert (
        pywatt.compare(run(50.0), run(50.0), run_spread=0.001).total.energies[0].energy_j_std == 0.5
    )
    known = pywatt.compare([run(49.0), run(51.0)], run(50.0), run_spread=0.5).total.energies[0]
    assert known.energy_j_std == pytest.approx(1.0)
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(ArgumentError, match="run_spread"):
            pywatt.compare(run(50.0), run(50.0), run_spread=wrong)


def test_the_measurements_own_deviation_counts_where_runs_agree_by_luck():
    old = pywatt.compare([run(50.0, 3.0), run(50.0, 4.0)], run(50.0)).total.energies[0]
    assert (old.energy_j_std, old.freedom) == (2.5, math.inf)


def test_few_runs_that_scatter_are_no_evidence():
    # 3 / sqrt(2) standard deviations of 2 degrees of freedom: chance does that in 8.4 % of cases.
    compared = pywatt.compare([run(49.0, 0.0), run(51.0, 0.0)], [run(52.0, 0.0), run(54.0, 0.0)])
    assert compared.total.change().z == pytest.approx(1.3788, abs=1e-3)


def test_more_than_two_profiles_are_held_against_the_first():
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
        ({"method": "time"}, "a change of its own power is not seen"),
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


@pytest.mark.parametrize(
    ("energy_j", "std", "regressed"),
    [
        (52.5, 0.0, False),  # as much as is allowed
        (52.6, 0.0, True),
        (54.0, 0.74, True),  # 1.5 J above what is allowed, 2.03 standard deviations
        (54.0, 0.76, False),
        (60.0, 5.0, False),  # far more, but it may be chance
        (40.0, 0.0, False),  # less
    ],
)
def test_only_a_real_increase_is_a_regression(energy_j, std, regressed):
    compared = pywatt.compare(run(50.0, 0.0), run(energy_j, std))
    assert bool(compared.regressions(0.05)) == regressed


def test_the_old_deviation_counts_too():
    # 54 - 1.05 * 50 = 1.5 J, and 1.05 * 0.75 = 0.79 J
    assert not pywatt.compare(run(50.0, 0.75), run(54.0, 0.0)).regressions(0.05)
    assert pywatt.compare(run(50.0, 0.70), run(54.0, 0.0)).regressions(0.05)


def layers_with(stds, hot_j):
    exact = [layer(f"l{i}", 1, 10.0, self_energy_j_std=0.0) for i in range(stds)]
    hot = layer("hot", 1, hot_j, self_energy_j_std=1.0)
    return profile(layers=(hot, *exact), energy_j_std=0.1)


def test_a_layer_can_fail_while_the_total_does_not():
    compared = pywatt.compare(layers_with(0, 10.0), layers_with(0, 14.0))
    assert compared.regressions(0.05) == ()
    (found,) = compared.regressions(0.05, layers_over=0.1)
    assert (found.row.name, found.allowed) == ("hot", 0.1)
    assert found.z == pytest.approx(3.0 / math.hypot(1.1, 1.0))


def test_one_of_many_layers_needs_more():
    # z is 2.02: enough for one layer, not for the luckiest of 21, which needs 3.06.
    few = pywatt.compare(layers_with(0, 10.0), layers_with(0, 14.0))
    many = pywatt.compare(layers_with(20, 10.0), layers_with(20, 14.0))
    assert few.regressions(0.05, layers_over=0.1)
    assert not many.regressions(0.05, layers_over=0.1)
    enough = pywatt.compare(layers_with(20, 10.0), layers_with(20, 15.7))
    assert [one.row.name for one in enough.regressions(0.05, layers_over=0.1)] == ["hot"]


def test_layers_of_one_side_only_are_not_judged():
    compared = pywatt.compare(with_layers(layer("a", 1, 1.0)), with_layers(layer("b", 1, 90.0)))
    assert compared.regressions(0.05, layers_over=0.05) == ()


def test_what_is_not_known_cannot_be_judged():
    for unknown in (run(None, None), run(50.0, None)):
        with pytest.raises(PywattError, match="cannot be judged"):
            pywatt.compare(run(50.0), unknown).regressions(0.05)
    with pytest.raises(ArgumentError, match="0 or more"):
        pywatt.compare(run(50.0), run(50.0)).regressions(-0.1)


def test_a_comparison_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        pywatt.compare(profile(), profile()).per = "run"


def test_the_table():
    old = profile()
    new = profile(
        layers=(layer("", 0, 4.0), layer("body", 1, 45.0, self_energy_j_std=1.0)),
        energy_j=65.0,
        outside_j=16.0,
    )
    text = render(pywatt.compare(old, new))
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines() if line}
    assert rows["body"] == ["body", "30.000", "45.000", "+15.000", "±", "3.162", "+50.0", "+4.7!"]
    assert rows["head"] == ["head", "6.000", "absent"]
    assert rows["total"] == [
        "total",
        "50.000",
        "65.000",
        "+15.000",
        "±",
        "0.707",
        "+30.0",
        "+21.2!",
    ]
    assert "MEASURED · self energy per run" in text
    assert "only in   Net: head" in text


def test_estimates_are_called_so():
    estimated = profile(estimated=True, sensors=(CPU,))
    text = render(pywatt.compare(estimated, estimated))
    assert "ESTIMATED" in text
    assert "est. J" in text


def test_layers_that_changed_least_are_folded_into_one_row():
    old = with_layers(*(layer(f"l{i}", 1, 1.0) for i in range(50)))
    new = with_layers(*(layer(f"l{i}", 1, 1.0 + 0.01 * i) for i in range(50)))
    text = render(pywatt.compare(old, new), max_rows=5)
    shown = [line.split()[0] for line in text.splitlines() if line.startswith("l")]
    assert shown == ["l46", "l47", "l48", "l49"]
    folded = next(line for line in text.splitlines() if "46 more layers" in line)
    # 46 layers of 1 J; together 0.01 * (0 + ... + 45) = 10.35 J more
    assert folded.split()[4:] == ["46.000", "56.350", "+10.350", "+22.5", "n/a"]


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name, energy_j in (("old", 50.0), ("same", 50.4), ("more", 60.0), ("more2", 60.4)):
        run(energy_j).save(f"{name}.json")
    profile(estimated=True, sensors=(CPU,)).save("estimated.json")
    run(None, None).save("unknown.json")
    (tmp_path / "broken.json").write_text("{")


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("old.json more.json", 0, "+20.0"),
        ("old.json more.json --fail-over 5%", 1, "REGRESSION in more.json: total +20.0 %"),
        ("old.json more.json --fail-over 19.9%", 0, "OK"),
        ("old.json more.json --fail-over 5% --run-spread 10%", 0, "OK"),
        ("old.json same.json --fail-over 0%", 0, "OK"),
        ("old.json same.json more.json --fail-over 5%", 1, "REGRESSION in more.json"),
        ("more.json old.json --fail-over 5%", 0, "OK"),
        ("old.json same.json --to more.json more2.json --fail-over 5%", 1, "more.json, more2.json"),
        ("old.json more.json --fail-over 50% --fail-layer-over 0%", 0, "OK"),
    ],
)
def test_the_command(arguments, status, words, capsys):
    assert cli.main(["compare", *arguments.split()]) == status
    assert words in capsys.readouterr().out


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("old.json", "two profiles or more"),
        ("old.json none.json", "none.json cannot be read: No such file"),
        ("old.json broken.json", "broken.json: not complete JSON"),
        ("old.json estimated.json", "cannot be compared"),
        ("old.json unknown.json --fail-over 5%", "cannot be judged"),
        ("old.json same.json --fail-layer-over 5%", "needs --fail-over"),
    ],
)
def test_the_command_says_what_it_cannot_do(arguments, words, capsys):
    assert cli.main(["compare", *arguments.split()]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("given", ["5", "0.05", "five%", "-1%", "nan%", "inf%"])
def test_a_limit_is_a_percentage(given, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["compare", "a", "b", f"--fail-over={given}"])
    assert exit_.value.code == 2
    assert "such as 5%" in capsys.readouterr().err


@pytest.mark.usefixtures("saved")
def test_the_command_as_json(capsys):
    assert cli.main(["compare", "old.json", "more.json", "--json", "--fail-over", "5%"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["per"] == "run"
    assert document["total"]["changes"] == [
        {
            "difference_j": 10.0,
            "difference_j_std": pytest.approx(math.sqrt(0.5)),
            "relative": 0.2,
            "z": pytest.approx(10.0 / math.sqrt(0.5)),
        }
    ]
    assert [one["name"] for one in document["layers"]] == ["", "body", "head"]
    assert [(one["type"], one["side"]) for one in document["regressions"]] == [("total", 1)]
    assert cli.main(["compare", "old.json", "more.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["regressions"] is None


def test_the_z_of_many_and_of_few():
    assert of_many(2.0, 1) == pytest.approx(2.0)
    # 21 independent chances of 0.11 % each are one of 2.3 %.
    assert of_many(2.0, 21) == pytest.approx(3.064, abs=2e-3)
    assert as_z(-2.0, 1e12) == pytest.approx(-2.0)
    # With one degree of freedom, t = 1 is exceeded in a quarter of cases.
    assert as_z(1.0, 1.0) == pytest.approx(0.67449, abs=1e-5)
