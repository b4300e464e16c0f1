import sys

import pytest

from pywatt.errors import StudyError
from pywatt.study.settings import Recipe, Reference, read_settings

GOOD = """\
name = "digits"
data = "data.py:loaders"
seeds = [0, 1]
repeats = 2
devices = ["cpu", "cuda:0"]

[training]
epochs = 3
optimizer = { call = "torch.optim:SGD", lr = 0.1 }

[[models]]
name = "a"
factory = { call = "models.py:mlp", width = 8 }

[[models]]
name = "b"
factory = "models.py:cnn"
[models.training]
epochs = 5

[[models]]
name = "c"
factory = "models.py:knn"
fit = "models.py:fit"

[[models]]
name = "d"
factory = "models.py:pretrained"
training = "inference only"
"""


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "study.toml"
        path.write_text(text)
        return read_settings(path)

    return read


def test_a_study_file_is_read(read):
    settings = read(GOOD)
    assert (settings.name, settings.seeds, settings.repeats) == ("digits", (0, 1), 2)
    assert settings.devices == ("cpu", "cuda:0")
    assert settings.sensors == "auto"
    a, b, c, d = settings.models
    assert a.factory == Reference("models.py:mlp", {"width": 8})
    assert isinstance(a.training, Recipe)
    assert (a.training.epochs, a.training.optimizer.arguments) == (3, {"lr": 0.1})
    assert a.training.loss.target == "torch.nn:CrossEntropyLoss"
    assert (b.training.epochs, b.training.optimizer) == (5, a.training.optimizer)
    assert c.training == Reference("models.py:fit", {})
    assert d.training is None


def test_models_come_first_then_devices_seeds_and_repeats(read):
    runs = read(GOOD).runs()
    assert len(runs) == 4 * 2 * 2 * 2
    assert [run.position for run in runs] == list(range(32))
    first = [(run.model.name, run.device, run.seed, run.repeat) for run in runs[:5]]
    assert first == [
        ("a", "cpu", 0, 0),
        ("a", "cpu", 0, 1),
        ("a", "cpu", 1, 0),
        ("a", "cpu", 1, 1),
        ("a", "cuda:0", 0, 0),
    ]


def test_a_key_is_that_of_the_run_and_of_nothing_else(read):
    keys = [run.key for run in read(GOOD).runs()]
    assert len(set(keys)) == len(keys)
    # Neither how it is measured nor what else there is makes it another run.
    other = GOOD.replace('name = "digits"', 'name = "other"\nbudget_s = 9\nrate_hz = 50')
    assert [run.key for run in read(other).runs()] == keys
    changed = {run.key for run in read(GOOD.replace("epochs = 3", "epochs = 4")).runs()}
    assert len(changed & set(keys)) == 3 * 8  # all but those of the model that it trains


def test_without_a_recipe_nothing_is_trained(read):
    text = 'data = "d.py:test"\n[[models]]\nname = "a"\nfactory = "m.py:f"\n'
    settings = read(text)
    assert settings.models[0].training is None
    assert settings.name == "study"
    assert read(f'training = "inference only"\n{text}') == settings


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("seeds = [0, 1]", "seeds = [0, 0]", 3, ["seeds", "duplicate"]),
        ("seeds = [0, 1]", "seeds = [-1]", 3, ["seeds", "seeds = [0, 1]"]),
        ("repeats = 2", "repeats = 0", 4, ["repeats", "at least 1", "not 0"]),
        ("repeats = 2", "repeats = true", 4, ["repeats", "not True"]),
        ("repeats = 2", "threads = 0", 4, ["threads", "at least 1"]),
        ("repeats = 2", "repeat = 2", 4, ["repeat", "did you mean 'repeats'?"]),
        ('devices = ["cpu", "cuda:0"]', "devices = []", 5, ["devices", 'devices = ["a", "b"]']),
        ("epochs = 3", "epochs = 'ten'", 8, ["training.epochs", "an integer", "'ten'"]),
        ("epochs = 3", "", 7, ["training", "has no 'epochs'"]),
        ("epochs = 3", "epochs = 3\nepoch = 3", 9, ["training.epoch", "did you mean 'epochs'?"]),
        ('"torch.optim:SGD"', '"torch.optim.SGD"', 9, ["training.optimizer", '"module:function"']),
        ("lr = 0.1", "lr = 2020-01-01", 9, ["training.optimizer", "arguments"]),
        ("epochs = 3", "epochs = 3\nextrapolate_to = 2", 9, ["extrapolate_to", "at least 3"]),
        ("repeats = 2", "rate_hz = 2e4", 4, ["rate_hz", "from 1 to 10,000", "not 20000"]),
        ('name = "a"', "", 11, ["models[1]", "has no 'name'"]),
        ('name = "a"', 'name = ""', 12, ["models[1].name", "string"]),
        ('name = "b"', 'name = "a"', 16, ["models[2].name", "'a' is used twice"]),
        ("epochs = 5", "epochs = -5", 19, ["models[2].training.epochs", "not -5"]),
        (
            'fit = "models.py:fit"',
            'fit = "models.py:fit"\ntraining = "inference only"',
            24,
            ["models[3].fit", "not both"],
        ),
        ('training = "inference only"', "training = 1", 29, ["models[4].training", "table"]),
        ('data = "data.py:loaders"', "", None, ["has no 'data'"]),
        ('data = "data.py:loaders"', 'data = "loaders"', 2, ["data", "file.py:function"]),
    ],
)
def test_what_is_wrong_is_an_error_with_file_line_key_and_remedy(read, old, new, line, words):
    assert old in GOOD
    with pytest.raises(StudyError) as raised:
        read(GOOD.replace(old, new, 1))
    message = str(raised.value)
    assert "study.toml" in message
    assert (f"line {line}," in message) if line else ("line" not in message)
    for word in words:
        assert word in message


def test_what_is_no_toml_is_an_error_with_its_line(read, tmp_path):
    with pytest.raises(StudyError, match=r"study\.toml is not TOML: .*line 3"):
        read('name = "a"\nseeds = [\n= 1')
    with pytest.raises(StudyError, match=r"absent\.toml cannot be read: No such file"):
        read_settings(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="UTF-8"):
        read_settings(tmp_path / "binary.toml")


def test_a_study_without_models_is_an_error(read):
    with pytest.raises(StudyError, match="has no 'models'"):
        read('data = "d.py:f"\n')
    with pytest.raises(StudyError, match=r"line 2, models: must be tables, each begun by"):
        read('data = "d.py:f"\nmodels = ["a"]\n')


def test_reading_imports_neither_torch_nor_what_is_named(read):
    before = set(sys.modules)
    read(GOOD)
    assert not {"data", "models"} & (set(sys.modules) - before)
