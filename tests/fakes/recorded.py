"""What a native span recorder holds, as lists."""


def rows(recorder):
    """All spans as (start_s, end_s, path, thread), in the order of their ends."""
    return list(zip(*(column.tolist() for column in recorder.rows(0, len(recorder))), strict=True))


def paths(recorder):
    """All paths as (name, parent)."""
    return list(zip(*(column.tolist() for column in recorder.paths()), strict=True))
