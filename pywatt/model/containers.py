"""Find the calls inside modules that are never called themselves, such as ModuleList."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pywatt.model.modules import ModuleEntry

IntArray = npt.NDArray[np.integer]


def paths_inside(
    entries: Sequence[ModuleEntry],
    called: npt.NDArray[np.bool_],
    parent: IntArray,
    module: IntArray,
) -> dict[int, list[int]]:
    """Find the outermost call paths inside each module that was never called.

    The inclusive values of these paths add up to those of the container.

    Args:
        entries: the modules, parents before their children.
        called: whether each module was called, shape (modules,).
        parent: path above each path, -1 at the top, parents first; shape (paths,).
        module: index of each path's module, -1 if it has none; shape (paths,).

    Returns:
        For the index of each module that was never called, indices of paths; [] if nothing in it
        ran.
    """
    holders = _holders(entries, called)
    found: dict[int, list[int]] = {k: [] for k in np.flatnonzero(~called).tolist()}
    children: list[list[int]] = [[] for _ in range(len(parent) + 1)]
    for path, above in enumerate(parent.tolist()):
        children[above].append(path)  # -1: the last list
    depth = dict.fromkeys(found, 0)
    pending = children[-1][::-1]
    while pending:
        path = pending.pop()
        leaves = path < 0  # all paths below ~path are done
        index = int(module[~path if leaves else path])
        inside = holders[index] if 0 <= index < len(entries) else ()
        for holder in inside:
            if not leaves and depth[holder] == 0:
                found[holder].append(path)
            depth[holder] += -1 if leaves else 1
        if not leaves:
            pending.append(~path)
            pending += children[path][::-1]
    return found


def _holders(
    entries: Sequence[ModuleEntry], called: npt.NDArray[np.bool_]
) -> list[tuple[int, ...]]:
    """Return, for each module, the modules around it, at any depth, that were never called."""
    holders: list[tuple[int, ...]] = []
    above: list[int] = []
    for k, entry in enumerate(entries):
        while above and entries[above[-1]].depth >= entry.depth:
            above.pop()
        holders.append(tuple(a for a in above if not called[a]))
        above.append(k)
    return holders
