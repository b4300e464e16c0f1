import re
from pathlib import Path

import pytest

import pywatt

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not EXAMPLES.exists(), reason="the tests lie outside of a clone"),
]


@pytest.mark.parametrize(
    ("name", "least"),
    [("segmentation", 0.15), ("action_recognition", 0.15), ("language_model", 1 / 128)],
)
def test_an_example_runs(name, least, tmp_path):
    folder = EXAMPLES / name
    text = re.sub(r"budget_s = \S+", "budget_s = 0.1", (folder / "study.toml").read_text())
    text = re.sub(r"\nepochs = \d+", "\nepochs = 1", text)
    for code in folder.glob("*.py"):
        (tmp_path / code.name).write_text(code.read_text())
    (tmp_path / "study.toml").write_text(text)
    table = pywatt.Study(tmp_path / "study.toml", sensors=pywatt.ScriptedSensor([50.0])).run(
        progress=False
    )
    assert len(table.models) == 3
    for model in table.models:
        assert model.errors == ()
        assert least < model.row.accuracy <= 1.0 or model.name == "bigrams"
        assert model.row.test_energy_j == pytest.approx(50.0 * model.test_duration_s, rel=1e-3)
        assert model.row.train_energy_j > 0.0


def test_mean_iou_counts_over_the_whole_test():
    import importlib.util

    import torch

    spec = importlib.util.spec_from_file_location("shapes", EXAMPLES / "segmentation" / "shapes.py")
    shapes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shapes)
    metric = shapes.MeanIoU(classes=2)
    # Targets 0 0 1 1 and answers 0 1 1 1: intersections 1 and 2, unions 2 and 3.
    for target, answer in ((0, 0), (0, 1), (1, 1), (1, 1)):
        output = torch.nn.functional.one_hot(torch.tensor([[[answer]]]), 2).permute(0, 3, 1, 2)
        metric.update(output, (None, torch.tensor([[[target]]])))
    assert float(metric.compute()) == pytest.approx((1 / 2 + 2 / 3) / 2)
