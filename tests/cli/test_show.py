"""`pywatt show`: what a saved result printed, and what that left out."""

import pytest
from fakes.profiles import profile

from pywatt.cli import main
from pywatt.renderers.profile import explain, render


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


def test_a_saved_profile_is_shown_as_it_was_printed(tmp_path, capsys):
    path = str(tmp_path / "run.json.gz")
    profile().save(path)
    assert main(["show", path]) == 0
    assert capsys.readouterr().out == render(profile(), 100) + "\n"


def test_explain_shows_the_rest(tmp_path, capsys):
    path = str(tmp_path / "run.json")
    profile().save(path)
    assert main(["show", path, "--explain"]) == 0
    assert capsys.readouterr().out == explain(profile(), 100) + "\n"


def test_a_training_is_shown_too(tmp_path, capsys):
    import torch
    from fakes.models import scripted

    import pywatt

    model = torch.nn.Linear(2, 2)
    found = pywatt.profile_training(
        model,
        [(torch.zeros(1, 2), torch.zeros(1, 2))] * 4,
        loss_fn=torch.nn.MSELoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.0),
        method="time",
        **scripted(),
    )
    path = str(tmp_path / "train.json")
    found.save(path)
    assert main(["show", path]) == 0
    assert capsys.readouterr().out == f"{found}\n"
    assert main(["show", path, "--explain"]) == 0
    assert capsys.readouterr().out == found.explain() + "\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{}", "not a pywatt result: expected a file written by save() of a result"),
        ('{"format": "pywatt profile"', "not complete JSON"),
    ],
)
def test_what_is_no_result_is_an_error(tmp_path, capsys, content, message):
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    assert main(["show", str(path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("pywatt: error: ")
    assert message in shown.err
