"""Energy of short windows by pywatt and by other tools: python benchmarks/peers.py [--quick].

Each tool runs in a process of its own with a simulated GPU of its own, and all play the same cases
at the same time. The other tools come from .venv-peers, which `make bench` sets up; a tool that is
not there is left out, and the table says why. Only pywatt's answers are judged.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from peer_cases import CASES, Case, Errors, Reading
from peer_tools import TOOLS
from rich import box
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from fakes.simulated_nvml import REPOSITORY, environment, library_path

ENVIRONMENT = REPOSITORY / ".venv-peers"
PROGRAM = Path(__file__).with_name("peer_tools.py")
OURS = [tool for tool, (distribution, _) in TOOLS.items() if distribution == "pywatt"]
TRIES = 3
START_LIMIT_S, ANSWER_LIMIT_S = 60.0, 240.0

T = TypeVar("T")


class AbsentError(Exception):
    """A tool is not installed or does not answer."""


@dataclass(frozen=True)
class Answer:
    """One tool's errors in all cases."""

    version: str
    errors: tuple[Errors, ...]


@dataclass(frozen=True)
class Comparison:
    cases: tuple[Case, ...]
    answers: dict[str, Answer]  # by tool
    absent: dict[str, str]  # tool -> why
    retried: dict[str, Answer] = field(
        default_factory=dict
    )  # judged in place of the first tries, which the table shows

    def table(self, *, markdown: bool = False) -> Table:
        table = Table(
            title="error of a window's energy in %: size of the median (least … most)",
            caption=self.caption(),
            box=box.MARKDOWN if markdown else box.ROUNDED,
            show_lines=not markdown,
        )
        table.add_column("windows on the simulated GPU")
        for tool in self.answers:
            table.add_column(tool, justify="right")
        for index, case in enumerate(self.cases):
            cells = (answer.errors[index].parts() for answer in self.answers.values())
            table.add_row(
                f"{case.windows} × {case.name}", *map((" " if markdown else "\n").join, cells)
            )
        return table

    def caption(self) -> str:
        versions = {TOOLS[tool][0]: answer.version for tool, answer in self.answers.items()}
        parts = [", ".join(f"{name} {version}" for name, version in versions.items())]
        parts += [f"{tool} is left out: {why}" for tool, why in self.absent.items()]
        return "; ".join(filter(None, parts))

    def missed(self) -> list[str]:
        """Return where pywatt missed its limit. The other tools' figures are not judged."""
        silent = [
            f"{tool} did not answer: {self.absent[tool]}" for tool in OURS if tool in self.absent
        ]
        return silent + [
            f"{tool} missed in {TRIES} tries: {case.name}: {errors} %, {errors.beyond} of them "
            f"beyond three standard deviations; limit: {case.limit:.1%}, and none beyond"
            for tool in OURS
            for case, errors in self.of(tool)
            if case.limit is not None and not errors.meet(case.limit)
        ]

    def of(self, tool: str) -> list[tuple[Case, Errors]]:
        answer = self.retried.get(tool, self.answers.get(tool))
        return list(zip(self.cases, answer.errors, strict=True)) if answer else []

    def after(self, tool: str, another: Comparison) -> Comparison:
        """Add another try of one tool at some of the cases."""
        if tool not in another.answers:
            return self
        newer = dict(another.of(tool))
        errors = tuple(newer.get(case, errors) for case, errors in self.of(tool))
        retried = replace(self.answers[tool], errors=errors)
        return replace(self, retried={**self.retried, tool: retried})


class Contender:
    """The process of one tool, which looks up commands in `folder` and logs there."""

    def __init__(self, tool: str, cases: Sequence[Case], folder: Path) -> None:
        self._tool = tool
        python = sys.executable if tool in OURS else str(ENVIRONMENT / "bin" / "python")
        if shutil.which(python) is None:
            raise AbsentError(f"there is no {ENVIRONMENT.name}: make bench sets it up")
        self._log = folder / f"{tool}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, str(PROGRAM), tool, json.dumps([asdict(case) for case in cases])],
                env={
                    **os.environ,
                    **environment(),
                    "PYWATT_SIMULATED_NVML": str(library_path()),
                    "CUDA_VISIBLE_DEVICES": "0",
                    "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # so that its own child processes end with it
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout

    def wait_ready(self) -> None:
        readable, _, _ = select.select([self._from], [], [], START_LIMIT_S)
        if not readable or self._from.readline() != "ready\n":
            raise AbsentError(self._why())

    def go(self) -> None:
        with suppress(BrokenPipeError):  # answer() reports what happened
            self._to.write("\n")
            self._to.flush()

    def answer(self) -> Answer:
        try:
            text, _ = self._process.communicate(timeout=ANSWER_LIMIT_S)
            found = json.loads(text)
        except (subprocess.TimeoutExpired, ValueError):
            raise AbsentError(self._why()) from None
        readings = [[Reading(**reading) for reading in case] for case in found["readings"]]
        return Answer(found["version"], tuple(map(Errors.of, readings)))

    def _why(self) -> str:
        """Return the last line of its log, or why it could not be installed."""
        self.end()
        said = [line for line in self._log.read_text().splitlines() if line.strip()]
        complaint = said[-1].strip() if said else "no answer"
        installation = ENVIRONMENT / f"{TOOLS[self._tool][0]}.log"
        if "ModuleNotFoundError" in complaint and installation.exists():
            lines = installation.read_text().splitlines()
            return next((line for line in lines if line.startswith("ERROR:")), complaint)
        return complaint

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def play(tools: Sequence[str], cases: tuple[Case, ...]) -> Comparison:
    """Run all tools at once: each sleeps most of the time."""
    contenders: dict[str, Contender] = {}
    absent: dict[str, str] = {}

    def of_each(tools: Sequence[str], step: Callable[[str], T]) -> dict[str, T]:
        done = {}
        for tool in tools:
            try:
                done[tool] = step(tool)
            except AbsentError as error:
                absent[tool] = str(error)
        return done

    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        # Every driver comes with it; without it codecarbon looks for no GPU.
        (Path(folder) / "nvidia-smi").symlink_to(shutil.which("true") or "/bin/true")

        def start(tool: str) -> None:
            contenders[tool] = Contender(tool, cases, Path(folder))
            running.callback(contenders[tool].end)

        started = of_each(tools, start)
        ready = of_each(list(started), lambda tool: contenders[tool].wait_ready())
        for tool in ready:
            contenders[tool].go()
        answers = of_each(list(ready), lambda tool: contenders[tool].answer())
    return Comparison(cases, answers, absent)


def compare(*, quick: bool) -> Comparison:
    """Run all tools; a case that pywatt misses is retried alone, since the machine may be busy."""
    if quick:
        cases = tuple(replace(case, windows=2, limit=None) for case in CASES if case.duration_s < 1)
        return play(list(TOOLS), cases)
    comparison = play(list(TOOLS), CASES)
    for _ in range(TRIES - 1):
        for tool in OURS:
            again = tuple(
                case for case, errors in comparison.of(tool) if not errors.meet(case.limit)
            )
            if again:
                comparison = comparison.after(tool, play([tool], again))
    return comparison


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few windows; judge none")
    parser.add_argument(
        "--markdown", action="store_true", help="print the table as in docs/accuracy.md"
    )
    options = parser.parse_args()
    comparison = compare(quick=options.quick)
    console = Console() if sys.stdout.isatty() else Console(width=220 if options.markdown else 120)
    console.print(comparison.table(markdown=options.markdown))
    missed = comparison.missed()
    for line in missed:
        print(line, file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
