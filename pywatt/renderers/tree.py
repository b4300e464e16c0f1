"""Which layers a table shows, and under which names."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pywatt.profiling.result import LayerEnergy, Profile


@dataclass(frozen=True, slots=True)
class Node:
    """A layer that is shown, `level` steps below the outermost layer that is."""

    layer: LayerEnergy
    label: str
    level: int


@dataclass(frozen=True, slots=True)
class Fold:
    """The shown layers, those that ran but are not shown, and the names of those that never ran.

    The self energies of `nodes` and `folded` together are those of all layers.
    """

    nodes: tuple[Node, ...]
    folded: tuple[LayerEnergy, ...]
    not_called: tuple[str, ...]


def fold(profile: Profile, max_rows: int) -> Fold:
    """Keep the layers of most self energy, and those in which the branches to them part.

    All that ran if they fit in `max_rows`; else one row is left for the fold. A layer between two
    that are shown is named in the label of the lower one, as is a container that is never called
    itself (ModuleList).
    """
    layers = profile.layers
    parents = _parents(layers)
    called = [index for index, layer in enumerate(layers) if layer.calls > 0]
    shown = set(called) if len(called) <= max_rows else _largest(layers, parents, max_rows - 1)
    running = set(called) | {a for index in called for a in _above(index, parents)}

    nodes: list[Node] = []
    levels: dict[int, int] = {}
    for index in sorted(shown):
        above = next((a for a in _above(index, parents) if a in shown), None)
        levels[index] = 0 if above is None else levels[above] + 1
        label = _label(layers[index], None if above is None else layers[above], profile.model)
        nodes.append(Node(layers[index], label, levels[index]))
    return Fold(
        nodes=tuple(nodes),
        folded=tuple(layers[index] for index in called if index not in shown),
        not_called=tuple(
            layer.name or profile.model
            for index, layer in enumerate(layers)
            # Below a module that never ran nothing did: its own name is enough.
            if index not in running and (parents[index] is None or parents[index] in running)
        ),
    )


def _parents(layers: Sequence[LayerEnergy]) -> list[int | None]:
    parents: list[int | None] = []
    path: list[int] = []
    for index, layer in enumerate(layers):
        while path and layers[path[-1]].depth >= layer.depth:
            path.pop()
        parents.append(path[-1] if path else None)
        path.append(index)
    return parents


def _above(index: int, parents: Sequence[int | None]) -> Iterable[int]:
    above = parents[index]
    while above is not None:
        yield above
        above = parents[above]


def _largest(
    layers: Sequence[LayerEnergy], parents: Sequence[int | None], max_rows: int
) -> set[int]:
    def size(index: int) -> tuple[float, float]:
        energy_j = layers[index].self_energy_j
        return -math.inf if energy_j is None else energy_j, layers[index].self_time_s

    called = [index for index, layer in enumerate(layers) if layer.calls > 0]
    shown = {index for index in called if not layers[index].name}
    for index in sorted(called, key=size, reverse=True):
        with_fork = shown | {index} | _forks(index, shown, layers, parents)
        if len(with_fork) > max_rows:
            break
        shown = with_fork
    return shown


def _forks(
    index: int, shown: set[int], layers: Sequence[LayerEnergy], parents: Sequence[int | None]
) -> set[int]:
    """The layer, if any, in which the branch to `index` leaves those to the shown layers."""
    on_the_way = shown.union(*(_above(other, parents) for other in shown))
    above = (a for a in _above(index, parents) if layers[a].calls > 0)
    return set(next(([a] for a in above if a in on_the_way), []))


def _label(layer: LayerEnergy, above: LayerEnergy | None, model: str) -> str:
    if not layer.name:
        return model
    if above is not None and layer.name.startswith(f"{above.name}."):
        return layer.name[len(above.name) + 1 :]
    return layer.name
