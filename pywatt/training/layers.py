"""Energies of phases and layers: sums over sources, each by the method that resolves it best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pywatt.attribution import Method
from pywatt.attribution.result import PathEnergies
from pywatt.metering.energies import WindowEnergy
from pywatt.model.containers import paths_inside
from pywatt.model.modules import ModuleEntry, has_forward, is_lazy
from pywatt.profiling.assembly import RESOLVED_SHARE
from pywatt.replay.closure import Closure
from pywatt.training.hooks import TIMED, WITH_MODULES
from pywatt.training.ledger import Ledger, SourceSum
from pywatt.training.result import PHASES, LayerTraining, PhaseEnergy
from pywatt.training.tree import KINDS, Tree, outermost_of_modules

NO_ENERGY = "no sensor gave an energy for all of this training"

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shared:
    """One source's energy, shared among phases and modules.

    Attributes:
        tree: the call tree of the training.
        energies: energies of its paths; what is outside of all is the phase "other".
        phase_method: method that shared energy among phases.
        module_method: method that shared it among modules; None if there are none.
        reason: why these methods, and what they mean.
        closure: how well replay and the training agree; None for other methods.
        notes: what a reader of the figures has to know.
    """

    tree: Tree
    energies: PathEnergies
    phase_method: str
    module_method: str | None
    reason: str
    closure: Closure | None = None
    notes: tuple[str, ...] = ()


def share(
    ledger: Ledger, names: Sequence[str], steps_scale: float, method: Method
) -> tuple[Shared, ...]:
    """Share each source's energy.

    Args:
        ledger: sums of all segments, and the result of replay if there was one.
        names: names of the modules.
        steps_scale: batches over traced batches.
        method: requested method.
    """
    if ledger.total is None:
        # Times are known even so.
        tree = Tree.of(ledger.calls, names, steps_scale, ledger.left_out)
        return (Shared(tree, tree.unknown(), "none", None, NO_ENERGY),)
    return tuple(
        _shared(ledger, source, Tree.of(source, names, steps_scale, ledger.left_out), method)
        for source in ledger.sources.values()
    )


def _shared(ledger: Ledger, source: SourceSum, tree: Tree, method: Method) -> Shared:
    found = tree.from_segments()
    # Not `any`: Ctrl-C that comes while Python lets go of an unfinished generator is lost.
    separated = max((sums.separated_s for sums in tree.sums), default=0.0) > 0
    module_method = " and ".join(source.module_methods) if separated else "time"
    reasons = [f"phases: {source.reason}"]
    if separated:
        reasons.append(f"layers: {source.module_reason}")
    without_replay = Shared(
        tree,
        found,
        " and ".join(source.methods),
        module_method if tree.has_modules else None,
        "; ".join(reasons),
    )
    replayed = ledger.replayed
    estimate = None if replayed is None else replayed.estimates.get(source.name)
    if replayed is None or estimate is None or (separated and method != "replay"):
        return without_replay
    total = WindowEnergy(source.energy_j, math.sqrt(source.energy_var))
    by_replay, closure = tree.from_replay(estimate, total)
    if not closure.consistent:
        return Shared(
            tree,
            found,
            without_replay.phase_method,
            without_replay.module_method,
            without_replay.reason,
            notes=(
                f"the training took {closure.factor:.3g} times the energy that replay predicts "
                f"({source.name}): replay's figures are not used, since the work or the machine "
                "was not the same",
            ),
        )
    why = (
        "forward and backward of each kind of call were repeated back to back "
        f"({replayed.blocks} blocks, {replayed.duration_s:.0f} s) and the sum scaled to the "
        "measured energy of the training"
    )
    if source.doubted_s > 0 or set(source.methods) != {"overlap"}:
        # Regression on phases shorter than a reading's window is less certain.
        return Shared(tree, by_replay, "replay", "replay", why, closure)
    other = source.phases["other"]
    energies = tree.with_phases(
        by_replay,
        found.energy_j[: len(TIMED)],
        found.energy_j_std[: len(TIMED)],
        other.energy_j,
        other.energy_j_std,
    )
    reason = f"phases: {source.reason}; layers: {why}"
    return Shared(tree, energies, without_replay.phase_method, "replay", reason, closure)


@dataclass(slots=True)
class _Sum:
    """One energy summed over sources, whose errors are independent."""

    energy_j: float = 0.0
    var: float = 0.0
    unknown_var: float = 0.0

    def add(self, energy_j: float, std_j: float, unknown_j: float) -> None:
        self.energy_j += energy_j
        self.var += std_j**2
        self.unknown_var += unknown_j**2

    @property
    def std(self) -> float:
        return math.sqrt(self.var)

    @property
    def resolved(self) -> bool:
        """Whether it is known that much better than from run time alone."""
        return self.std < RESOLVED_SHARE * math.sqrt(self.unknown_var)


def phases_of(shared: Sequence[Shared], *, known: bool) -> tuple[PhaseEnergy, ...]:
    """Return the energies of phases."""
    rows = []
    for name in PHASES:
        sums, outside_j, time_s = _Sum(), 0.0, 0.0
        modules = False
        for one in shared:
            energies, unknown = one.energies, one.tree.unknown()
            if name == "other":
                sums.add(energies.outside_j, energies.outside_j_std, unknown.outside_j_std)
                spent_s = one.tree.duration_s - float(np.sum(one.tree.times.time_s[: len(TIMED)]))
                time_s = max(time_s, spent_s)
                continue
            path = TIMED.index(name)
            energy_j, std_j = float(energies.energy_j[path]), float(energies.energy_j_std[path])
            sums.add(energy_j, std_j, float(unknown.energy_j_std[path]))
            time_s = max(time_s, float(one.tree.times.time_s[path]))
            outside_j += float(energies.self_energy_j[path])
            modules |= bool(np.any(one.tree.module[one.tree.phase == path] >= 0))
        rows.append(
            PhaseEnergy(
                name=name,
                energy_j=sums.energy_j if known else None,
                energy_j_std=sums.std if known else None,
                time_s=time_s,
                resolved=sums.resolved if known and time_s > 0 else None,
                outside_j=outside_j if known and modules else None,
            )
        )
    return tuple(rows)


@dataclass(slots=True)
class _Figures:
    """Energy and time of one module in one phase."""

    own: _Sum = field(default_factory=_Sum)
    inclusive: _Sum = field(default_factory=_Sum)
    time_s: float = 0.0
    calls: float = 0.0

    @property
    def ran(self) -> bool:
        """Whether it took any time."""
        return self.time_s > 0


def layers_of(
    entries: Sequence[ModuleEntry], shared: Sequence[Shared], *, known: bool, all_traced: bool
) -> tuple[LayerTraining, ...]:
    """Return the energies of all modules, forward and backward separately.

    Args:
        entries: the modules.
        shared: each source's energy, shared.
        known: whether the energy of the training is known.
        all_traced: whether modules were traced in every step.
    """
    figures = {phase: [_Figures() for _ in entries] for phase in WITH_MODULES}
    for one in shared:
        tree, energies, unknown = one.tree, one.energies, one.tree.unknown()
        outermost = outermost_of_modules(tree)
        for phase in WITH_MODULES:
            inside = (tree.phase == TIMED.index(phase)) & (tree.module >= 0)

            def folded(
                by_path: FloatArray, where: npt.NDArray[np.bool_], tree: Tree = tree
            ) -> FloatArray:
                return np.bincount(
                    tree.module[where], by_path[where], minlength=tree.modules
                ).astype(np.float64)

            whole = inside & outermost
            # Errors of a module's paths are correlated, so their deviations add up.
            own = [
                folded(x, inside)
                for x in (
                    energies.self_energy_j,
                    energies.self_energy_j_std,
                    unknown.self_energy_j_std,
                )
            ]
            inclusive = [
                folded(x, whole)
                for x in (energies.energy_j, energies.energy_j_std, unknown.energy_j_std)
            ]
            time_s = folded(tree.times.time_s, whole)
            calls = folded(tree.times.calls, inside & (tree.kind == KINDS.index(phase)))
            for k, each in enumerate(figures[phase]):
                each.own.add(float(own[0][k]), float(own[1][k]), float(own[2][k]))
                each.inclusive.add(*(float(x[k]) for x in inclusive))
                each.time_s = max(each.time_s, float(time_s[k]))
                each.calls = max(each.calls, float(calls[k]))
    pairs = zip(figures["forward"], figures["backward"], strict=True)
    called = np.array([any(each.calls > 0 or each.ran for each in pair) for pair in pairs])
    if not np.any(called):
        called[:] = True  # no step was traced
    elif not all_traced:
        # What was not called in the traced steps may have been in others.
        called |= np.array([has_forward(entry.module) for entry in entries])
    for one in shared:
        _add_inside(figures, entries, one, called)
    return tuple(
        _row(entry, figures["forward"][k], figures["backward"][k], bool(called[k]), known=known)
        for k, entry in enumerate(entries)
    )


def _add_inside(
    figures: dict[str, list[_Figures]],
    entries: Sequence[ModuleEntry],
    one: Shared,
    called: npt.NDArray[np.bool_],
) -> None:
    """Charge modules that were never called, such as ModuleList, with what ran inside them."""
    tree, energies, unknown = one.tree, one.energies, one.tree.unknown()
    for k, paths in paths_inside(entries, called, tree.paths.parent, tree.module).items():
        for phase in WITH_MODULES:
            within = [path for path in paths if tree.phase[path] == TIMED.index(phase)]
            each = figures[phase][k]
            each.inclusive.add(
                float(np.sum(energies.energy_j[within])),
                float(np.sum(energies.energy_j_std[within])),
                float(np.sum(unknown.energy_j_std[within])),
            )
            each.time_s = max(each.time_s, float(np.sum(tree.times.time_s[within])))


def _row(
    entry: ModuleEntry, forward: _Figures, backward: _Figures, called: bool, *, known: bool
) -> LayerTraining:
    # A module never called has 0 J of its own; a pass that never happened has no energy.
    ran = [known and (forward.ran or not called), known and backward.ran]
    resolved = [
        each.own.resolved for each, r in zip((forward, backward), ran, strict=True) if r and called
    ]
    trained = sum(
        int(p.numel()) for p in entry.module.parameters() if p.requires_grad and not is_lazy(p)
    )
    return LayerTraining(
        name=entry.name,
        type=entry.type,
        depth=entry.depth,
        parameters=entry.parameters,
        trained_parameters=trained,
        device=entry.device,
        forward_calls=forward.calls,
        backward_calls=backward.calls,
        forward_time_s=forward.time_s,
        backward_time_s=backward.time_s,
        forward_energy_j=forward.inclusive.energy_j if ran[0] else None,
        forward_energy_j_std=forward.inclusive.std if ran[0] else None,
        backward_energy_j=backward.inclusive.energy_j if ran[1] else None,
        backward_energy_j_std=backward.inclusive.std if ran[1] else None,
        forward_self_energy_j=forward.own.energy_j if ran[0] else None,
        forward_self_energy_j_std=forward.own.std if ran[0] else None,
        backward_self_energy_j=backward.own.energy_j if ran[1] else None,
        backward_self_energy_j_std=backward.own.std if ran[1] else None,
        resolved=all(resolved) if resolved else None,
    )


def method_of(shared: Sequence[Shared]) -> tuple[str, str]:
    """Return the method for phases, and for layers if it differs, and the reasons."""
    phases = " and ".join(dict.fromkeys(one.phase_method for one in shared))
    modules = " and ".join(
        dict.fromkeys(one.module_method for one in shared if one.module_method is not None)
    )
    method = phases if modules in ("", phases) else f"{phases}, layers by {modules}"
    return method, "; ".join(dict.fromkeys(one.reason for one in shared))
