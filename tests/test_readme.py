import re
import shlex
from pathlib import Path

import pytest

from pywatt import cli

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"

pytestmark = pytest.mark.skipif(not README.exists(), reason="the tests lie outside of a clone")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    examples = blocks("python")
    assert len(examples) >= 6
    together = {}
    for example in examples:  # each goes on from those before
        exec(compile(example, "README.md", "exec"), together)
    printed = capsys.readouterr().out
    assert "outside the modules" in printed
    assert "forward" in printed
    assert together["same"] == together["profile"]
    assert together["m"].energy_j == pytest.approx(100.0 * together["m"].duration_s, rel=1e-3)


def test_the_commands_exist():
    commands = [
        line.removeprefix("$ ").split("#")[0]
        for block in blocks("console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    ours = [shlex.split(command) for command in commands if command.startswith("pywatt ")]
    assert {command[1] for command in ours} == {"demo", "run"}
    parser = cli.parser()
    for command in ours:
        parser.parse_args(command[1:2])
    targets = {shlex.split(command)[1] for command in commands if command.startswith("make ")}
    makefile = (ROOT / "Makefile").read_text()
    assert targets == {"demo", "test"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_links_lead_somewhere():
    for page in (README, *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_files_named_in_how_it_works_exist():
    text = (ROOT / "docs" / "how-it-works.md").read_text()
    for name in re.findall(r"`((?:pywatt|csrc|tests)/[\w/.]*)`", text):
        assert (ROOT / name).exists(), name
