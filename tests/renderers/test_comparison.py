"""The table of a comparison."""

from fakes.profiles import CPU, layer, profile, with_layers

import pywatt
from pywatt.renderers.comparison import explain, render


def test_the_table():
    old = profile()
    new = profile(
        layers=(layer("", 0, 4.0), layer("body", 1, 45.0, self_energy_j_std=1.0)),
        energy_j=65.0,
        outside_j=16.0,
    )
    text = render(pywatt.compare(old, new), 100)
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
    assert text.splitlines()[-6:] == [
        "energy      Net: 50.00 ± 0.50 J per run, measured; 1 run, 200 samples",
        "energy      Net: 65.00 ± 0.50 J per run, measured; 1 run, 200 samples",
        "!           change of 2 standard deviations or more: unlikely to be chance",
        *text.splitlines()[-3:],
    ]
    assert "only in     Net: head" in explain(pywatt.compare(old, new), 100).splitlines()


def test_estimates_are_called_so():
    estimated = profile(estimated=True, sensors=(CPU,))
    text = render(pywatt.compare(estimated, estimated), 100)
    assert "ESTIMATED" in text
    assert "est. J" in text


def test_layers_that_changed_least_are_folded_into_one_row():
    old = with_layers(*(layer(f"l{i}", 1, 1.0) for i in range(50)))
    new = with_layers(*(layer(f"l{i}", 1, 1.0 + 0.01 * i) for i in range(50)))
    text = render(pywatt.compare(old, new), 100, max_rows=5)
    shown = [line.split()[0] for line in text.splitlines() if line.startswith("l")]
    assert shown == ["l46", "l47", "l48", "l49"]
    folded = next(line for line in text.splitlines() if "46 more layers" in line)
    # 46 layers of 1 J; together 0.01 * (0 + ... + 45) = 10.35 J more
    assert folded.split()[4:] == ["46.000", "56.350", "+10.350", "+22.5", "n/a"]
