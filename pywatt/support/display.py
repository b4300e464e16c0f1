"""Results as text, by the renderer of their kind, in characters that the stream can encode."""

import html
import shutil
import sys

from pywatt.support.upward import renderer_of

_ASCII = str.maketrans(
    {"±": "+/-", "µ": "u", "×": "x", "·": "-", "─": "-", "—": "-", "…": "~", "’": "'"}
)


def shown(result: object, width: int | None = None) -> str:
    """Return a result as its renderer shows it. `width` None: the terminal's, or 100."""
    return encodable(renderer_of(result).render(result, width or terminal_width()))


def explained(result: object, width: int | None = None) -> str:
    """Return what `shown` omits: how the figures were computed, and all that is known of them."""
    return encodable(renderer_of(result).explain(result, width or terminal_width()))


def as_html(result: object) -> str:
    """Return a result as HTML for a notebook."""
    return f'<pre style="line-height: 1.2">{html.escape(shown(result))}</pre>'


def terminal_width() -> int:
    """Return the columns of the terminal, or 100 without one."""
    return shutil.get_terminal_size(fallback=(100, 40)).columns


def encodable(text: str, encoding: str | None = None) -> str:
    """Return the text with characters replaced that the encoding lacks, by similar ones.

    So that printing never fails for lack of a character. `encoding` None: that of standard output.
    """
    encoding = encoding or getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text
