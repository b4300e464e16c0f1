"""Text for streams that cannot take every character."""

import sys

_ASCII = str.maketrans(
    {"±": "+/-", "µ": "u", "×": "x", "·": "-", "─": "-", "—": "-", "…": "~", "’": "'"}
)


def encodable(text: str, encoding: str | None = None) -> str:
    """The text as a stream of that encoding can take it, near to what it says; as it is if it can.

    So that a figure is never lost to the terminal that it is shown on. `encoding` None: that of
    standard output.
    """
    encoding = encoding or getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text
