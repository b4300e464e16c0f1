"""The house: where things are, how long files are, and which words are left to private use."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("pywatt", "csrc", "tests", "benchmarks", "examples", "docs")

pytestmark = pytest.mark.skipif(
    not (ROOT / "csrc").is_dir(), reason="the tests lie outside of a clone"
)


def sources(*rooms, endings=(".py", ".pyi", ".cpp", ".hpp", ".h", ".md")):
    for room in rooms:
        yield from (path for path in (ROOT / room).rglob("*") if path.suffix in endings)


def test_tests_stand_in_the_folder_of_what_they_test():
    rooms = {path.name for path in (ROOT / "pywatt").iterdir() if path.is_dir()}
    others = {"fakes", "golden", "gpu", "project"}
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/*.py")}
    assert folders <= rooms | others
    assert not list((ROOT / "tests").glob("test_*.py"))


@pytest.mark.parametrize("room", ["pywatt", "csrc", "tests", "benchmarks"])
def test_no_file_is_longer_than_400_lines(room):
    lines = {path: path.read_text().count("\n") for path in sources(room)}
    assert {str(path): count for path, count in lines.items() if count > 400} == {}


def test_to_tell_is_not_said_of_measuring():
    pattern = re.compile(r"\b(?:tell|tells|told|telling)\b", re.IGNORECASE)
    texts = [path.read_text() for path in sources(*ROOMS)] + [(ROOT / "README.md").read_text()]
    assert sum(len(pattern.findall(text)) for text in texts) <= 30


def test_the_readme_is_short():
    assert (ROOT / "README.md").read_text().count("\n") <= 150


def test_below_the_package_itself_only_the_native_module_is_imported_from_it():
    """The contract on the floors does not look at `from pywatt import ...`."""
    wrong = []
    for path in sources("pywatt", endings=(".py",)):
        if path.parent.name == "pywatt" or path.parent.name == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "pywatt":
                wrong += [f"{path}: {name.name}" for name in node.names if name.name != "_core"]
            if isinstance(node, ast.Import):
                wrong += [f"{path}: {name.name}" for name in node.names if name.name == "pywatt"]
    assert wrong == []
