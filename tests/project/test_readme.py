"""README and docs: their examples run, their commands, links and names exist."""

import re
import shlex
from pathlib import Path

import pytest

from pywatt import cli

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"

pytestmark = pytest.mark.skipif(not README.exists(), reason="the tests lie outside of a clone")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def run_blocks(page):
    """Run a page's examples in order, in one namespace, which is returned."""
    examples = blocks(page, "python")
    assert examples
    namespace = {}
    for example in examples:
        exec(compile(example, page.name, "exec"), namespace)
    return namespace


def test_the_examples_of_the_readme_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run_blocks(README)
    assert "outside the modules" in capsys.readouterr().out
    assert names["m"].energy_j > 0
    assert names["call"].energy_j > 0
    assert names["trained"].phase("backward").energy_j > 0


def test_the_examples_of_usage_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run_blocks(DOCS / "usage.md")
    printed = capsys.readouterr().out
    assert "outside the modules" in printed
    assert "forward" in printed
    assert names["same"] == names["profile"]
    assert names["m"].energy_j == pytest.approx(100.0 * names["m"].duration_s, rel=1e-3)


def test_the_examples_of_scores_run(capsys):
    run_blocks(DOCS / "scores.md")
    assert "small" in capsys.readouterr().out


def test_the_commands_exist():
    commands = [
        line.removeprefix("$ ").split("#")[0]
        for page in (README, *DOCS.glob("*.md"))
        for block in blocks(page, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    ours = [shlex.split(command) for command in commands if command.startswith("pywatt ")]
    assert {command[1] for command in ours} == {"compare", "demo", "run", "study"}
    for command in ours:
        if command[1] == "run":
            cli.parser().parse_args(command[1:2])
        else:
            cli.parser().parse_args(command[1:])
    targets = {shlex.split(command)[1] for command in commands if command.startswith("make ")}
    makefile = (ROOT / "Makefile").read_text()
    assert targets == {"demo", "gpu-check", "test"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_every_command_is_in_the_docs():
    listed = re.findall(r"^\| `pywatt (\w+)", (DOCS / "command-line.md").read_text(), re.MULTILINE)
    (actions,) = [a for a in cli.parser()._actions if a.dest == "action"]
    assert sorted(listed) == sorted(actions.choices)


def test_links_lead_somewhere():
    for page in (README, *DOCS.glob("*.md")):
        for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {link}#{anchor}"


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", README.read_text()))
    assert linked == {page.name for page in DOCS.glob("*.md")}


def test_files_named_in_the_docs_exist():
    for page in (README, *DOCS.glob("*.md")):
        text = page.read_text()
        for name in re.findall(r"`((?:pywatt|csrc|tests|benchmarks)/[\w/.]*)`", text):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
        for names in re.findall(r"`pytest ([^`]*)`", text):
            for name in names.split():
                assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_the_walks_name_what_is_there():
    """Each step is `file`, `function`, or two functions; all of them are in the file."""
    text = (DOCS / "how-it-works.md").read_text()
    steps = re.findall(r"^\d+\. `([\w/.]+)`, (`[^:]+(?:::[^:]+)*):", text, re.MULTILINE)
    assert len(steps) >= 20
    for name, functions in steps:
        source = (ROOT / name).read_text()
        for function in re.findall(r"`([^`]+)`", functions):
            for part in re.split(r"\.|::", function):
                assert re.search(rf"\b{part}\b", source), f"{name}: {function}"
