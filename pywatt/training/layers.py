"""Energies of phases and layers: sums over sources, by the method that tells each best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pywatt.attribution import Method
from pywatt.attribution.result import PathEnergies, WindowEnergy
from pywatt.model.modules import ModuleEntry, is_lazy
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
    """One source's energy among phases and modules.

    Attributes:
        tree: what ran.
        energies: energies of its paths; what is outside of all is the phase "other".
        phase_method: what told phases apart.
        module_method: what told modules apart; None where there are none.
        reason: what that means.
        closure: how far replay and the training agree; None for other methods.
        notes: what a reader must know.
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
        ledger: what all segments, and perhaps replay, have told.
        names: the modules' names.
        steps_scale: how many times as many batches there were as were traced.
        method: asked-for method.
    """
    if ledger.total is None:
        # Times are known all the same.
        tree = Tree.of(ledger.calls, names, steps_scale, ledger.left_out)
        return (Shared(tree, tree.unknown(), "none", None, NO_ENERGY),)
    return tuple(
        _shared(ledger, source, Tree.of(source, names, steps_scale, ledger.left_out), method)
        for source in ledger.sources.values()
    )


def _shared(ledger: Ledger, source: SourceSum, tree: Tree, method: Method) -> Shared:
    found = tree.from_segments()
    # Not `any`: Ctrl-C that comes while Python lets go of an unfinished generator is lost.
    told = max((sums.told_s for sums in tree.sums), default=0.0) > 0
    module_method = " and ".join(source.module_methods) if told else "time"
    reasons = [f"phases: {source.reason}"]
    if told:
        reasons.append(f"layers: {source.module_reason}")
    run_alone = Shared(
        tree,
        found,
        " and ".join(source.methods),
        module_method if tree.has_modules else None,
        "; ".join(reasons),
    )
    replayed = ledger.replayed
    names = None if replayed is None else replayed.names.get(source.name)
    if replayed is None or names is None or (told and method != "replay"):
        return run_alone
    total = WindowEnergy(source.energy_j, math.sqrt(source.energy_var))
    closed, closure = tree.closed(names, total)
    if not closure.believable:
        return Shared(
            tree,
            found,
            run_alone.phase_method,
            run_alone.module_method,
            run_alone.reason,
            notes=(
                f"the training took {closure.factor:.3g} times the energy that replay tells of it "
                f"({source.name}): replay's figures cannot be believed here, since the work or "
                "the machine was not the same",
            ),
        )
    why = (
        "layers: the forward and the backward of each kind of call were run back to back for as "
        f"long as the sensor needs, within {replayed.duration_s:.0f} s and {replayed.blocks} "
        "blocks, and the sum corrected to what the training really took"
    )
    if source.doubted_s > 0 or set(source.methods) != {"overlap"}:
        # What a regression makes of phases that are shorter than a reading's window is less sure.
        return Shared(tree, closed, "replay", "replay", why.removeprefix("layers: "), closure)
    other = source.phases["other"]
    energies = tree.with_phases(
        closed,
        found.energy_j[: len(TIMED)],
        found.energy_j_std[: len(TIMED)],
        other.energy_j,
        other.energy_j_std,
    )
    reason = f"phases: {source.reason}; {why}"
    return Shared(tree, energies, run_alone.phase_method, "replay", reason, closure)


@dataclass(slots=True)
class _Sum:
    """One energy over sources, whose errors are independent of each other."""

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
        """Whether it is known so much better than by the time it took."""
        return self.std < RESOLVED_SHARE * math.sqrt(self.unknown_var)


def phases_of(shared: Sequence[Shared], *, known: bool) -> tuple[PhaseEnergy, ...]:
    """Energies of phases."""
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
    """What one module took in one phase."""

    own: _Sum = field(default_factory=_Sum)
    inclusive: _Sum = field(default_factory=_Sum)
    time_s: float = 0.0
    calls: float = 0.0


def layers_of(
    entries: Sequence[ModuleEntry], shared: Sequence[Shared], *, known: bool
) -> tuple[LayerTraining, ...]:
    """Energies of all modules, forward and backward apart."""
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
            # A module's paths err the same way round, so their deviations add up.
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
    return tuple(
        _row(entry, figures["forward"][k], figures["backward"][k], known=known)
        for k, entry in enumerate(entries)
    )


def _row(
    entry: ModuleEntry, forward: _Figures, backward: _Figures, *, known: bool
) -> LayerTraining:
    ran = [known and each.time_s > 0 for each in (forward, backward)]
    resolved = [each.own.resolved for each, r in zip((forward, backward), ran, strict=True) if r]
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
    """What shared the energy among phases, and among layers where that differs; and why."""
    phases = " and ".join(dict.fromkeys(one.phase_method for one in shared))
    modules = " and ".join(
        dict.fromkeys(one.module_method for one in shared if one.module_method is not None)
    )
    method = phases if modules in ("", phases) else f"{phases}, layers by {modules}"
    return method, "; ".join(dict.fromkeys(one.reason for one in shared))
