"""Pieces of plain text that all renderers use: names, facts beside headings, tables."""

import textwrap
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

# Lines below a printed table: more is for `explain`.
MOST_LINES = 6

# Names and numbers are whole, in a narrow terminal too.
_NEVER_CUT = 500

_HEADING = 12  # width of the headings, so that texts stand below each other
_LEAST_TEXT = 30

Fact = tuple[str, str]


def plain(text: str) -> str:
    """A name without what would break a line or the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def facts_text(facts: Iterable[Fact], width: int) -> str:
    """Headings with their texts beside them, wrapped."""
    return "\n".join(line for fact in facts for line in _fact_lines(fact, width))


def wrapped(text: str, width: int) -> str:
    """A headline, broken where it is too wide."""
    return "\n".join(textwrap.wrap(plain(text), max(width, _LEAST_TEXT), break_on_hyphens=False))


def short_text(facts: Iterable[Fact], notes: Iterable[str], width: int, more: str) -> str:
    """Facts and notes in at most `MOST_LINES`.

    Args:
        facts: one line each; the text of one that needs more is shortened.
        notes: what changes how the figures read, the most important first. In full where all fit,
            else one line each.
        width: of the terminal.
        more: where the rest can be read, such as "explain()".
    """
    lines = [_one_line(fact, width) for fact in facts]
    notes = list(notes)
    whole = [line for note in notes for line in _fact_lines(("note", note), width)]
    if len(lines) + len(whole) <= MOST_LINES:
        return "\n".join([*lines, *whole])
    lines += [_one_line(("note", note), width) for note in notes]
    hidden = max(0, len(lines) - MOST_LINES + 1)
    pointer = f"{hidden} more, and all in full: {more}" if hidden else f"in full: {more}"
    return "\n".join([*lines[: MOST_LINES - 1], _one_line(("", pointer), width)])


def table_text(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    foot: Sequence[str] | None = None,
    *,
    left: int = 1,
) -> str:
    """A table of plain text; the first `left` columns stand left, numbers right."""
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in titles]
    feet = foot or [""] * len(titles)
    aligned = [
        (title, list(cells), last) if k < left else right_aligned(title, cells, last)
        for k, (title, cells, last) in enumerate(zip(titles, columns, feet, strict=True))
    ]
    return drawn(aligned, foot=foot is not None)


def drawn(columns: Sequence[tuple[str, Sequence[str], str]], *, foot: bool = True) -> str:
    """Columns of title, cells and what stands below the last line, as they are."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, show_footer=foot, show_edge=False, padding=(0, 1, 0, 0))
    table.pad_edge = False
    for title, _, last in columns:
        table.add_column(Text(title), Text(last), no_wrap=True)
    for cells in zip(*(cells for _, cells, _ in columns), strict=True):
        table.add_row(*map(Text, cells))
    return printed(table)


def right_aligned(title: str, cells: Sequence[str], last: str) -> tuple[str, list[str], str]:
    """Pad a column on its left; rich would drop the blanks on the right that align numbers."""
    titles = title.split("\n")
    width = max(map(cell_len, (*titles, *cells, last)))
    padded = [" " * (width - cell_len(cell)) + cell for cell in cells]
    head = "\n".join(" " * (width - cell_len(line)) + line for line in titles)
    return head, padded, " " * (width - cell_len(last)) + last


def cell_len(text: str) -> int:
    """How many columns of a terminal a text takes."""
    from rich.cells import cell_len as width

    return width(text)


def printed(renderable: "RenderableType", width: int = _NEVER_CUT) -> str:
    """A rich renderable as plain text, without control codes or blanks at the ends of lines."""
    from rich.console import Console

    text = StringIO()
    Console(file=text, width=width, color_system=None, force_terminal=False).print(renderable)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _fact_lines(fact: Fact, width: int) -> list[str]:
    heading, text = fact
    indent = max(_HEADING, len(heading) + 1)
    return textwrap.wrap(
        plain(text),
        max(width, indent + _LEAST_TEXT),
        initial_indent=plain(heading).ljust(indent),
        subsequent_indent=" " * _HEADING,
        break_on_hyphens=False,
        break_long_words=False,
    ) or [plain(heading)]


def _one_line(fact: Fact, width: int) -> str:
    lines = _fact_lines(fact, width)
    return lines[0] if len(lines) == 1 else _cut(lines[0], width)


def _cut(line: str, width: int) -> str:
    words = line.split(" ")
    while len(words) > 1 and len(" ".join(words)) + 2 > max(width, _HEADING + _LEAST_TEXT):
        words.pop()
    return " ".join(words) + " …"
