"""The modules of a model: names, devices, parameters, and which are opaque to hooks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pywatt.errors import ArgumentError
from pywatt.support.notes import NoteOnParts


@dataclass(frozen=True, slots=True)
class ModuleEntry:
    """One module of the tree.

    Attributes:
        name: dotted name; empty for the model itself.
        module: the module.
        depth: 0 for the model itself.
        device: torch device that its work is charged to.
        opaque_reason: why its children cannot be hooked; None if they can.
        timed_at: attribute of the instance whose calls are its spans; None if hooks record them.
    """

    name: str
    module: nn.Module
    depth: int
    device: str
    opaque_reason: str | None
    timed_at: str | None

    @property
    def type(self) -> str:
        """Name of the module's class."""
        inner = getattr(self.module, "_orig_mod", self.module)
        return type(inner).__name__

    @property
    def parameters(self) -> int:
        """Number of parameters, its own and its children's, each counted once.

        Lazy parameters count once they have a size, after the first call.
        """
        return sum(int(p.numel()) for p in self.module.parameters() if not is_lazy(p))


def module_entries(
    model: nn.Module,
    default_device: str = "cpu",
    find_device: Callable[[nn.Module], str | None] | None = None,
) -> list[ModuleEntry]:
    """List every module once, parents before children, without those inside opaque modules.

    Args:
        model: the model.
        default_device: device of a model that has no tensors.
        find_device: returns the device that a module's work is charged to, None for that of its
            container; default: `module_device`.
    """
    find_device = find_device or module_device
    entries: list[ModuleEntry] = []
    # A hook inside a compiled module breaks its graph, even if an eager path leads to it.
    seen = {
        id(inner)
        for module in model.modules()
        if _opaque_reason(module) is not None
        for inner in module.modules()
        if inner is not module
    }

    def walk(name: str, module: nn.Module, depth: int, outer_device: str, may_fuse: bool) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        device = find_device(module) or outer_device
        opaque_reason = _opaque_reason(module)
        may_fuse = may_fuse or isinstance(module, nn.TransformerEncoderLayer)
        entries.append(
            ModuleEntry(
                name=name,
                module=module,
                depth=depth,
                device=device,
                opaque_reason=opaque_reason,
                timed_at=_timed_at(module, may_fuse),
            )
        )
        if opaque_reason is None:
            for child_name, child in module.named_children():
                child_name = f"{name}.{child_name}" if name else child_name
                walk(child_name, child, depth + 1, device, may_fuse)

    walk("", model, 0, default_device, False)
    return entries


def has_forward(module: nn.Module) -> bool:
    """Return whether a module can be called: a ModuleList or ModuleDict cannot."""
    return type(module).forward is not nn.Module.forward


def is_lazy(tensor: torch.Tensor) -> bool:
    """Return whether a parameter has no size yet, before its module's first call."""
    return bool(nn.parameter.is_lazy(tensor))


def known_device(device: torch.device | str) -> str:
    """Return the name of a device, which torch must have here.

    Raises:
        ArgumentError: torch has no such device here.
    """
    try:
        return device_name(torch.device(device))
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ArgumentError(
            f"device is {device!r}, which torch does not have here: {error}"
        ) from error


def device_name(device: torch.device) -> str:
    """Return the name of a device with its index: ``cpu``, ``cuda:0``."""
    if device.type == "cuda" and device.index is None:
        return f"cuda:{torch.cuda.current_device()}"
    return str(device)


def module_device(module: nn.Module) -> str | None:
    """Return the device of the module's first own tensor, else of the first one below it."""
    own = [*module._parameters.values(), *module._buffers.values()]
    for tensor in own:
        if tensor is not None:
            return device_name(tensor.device)
    for tensor in _tensors(module):
        return device_name(tensor.device)
    return None


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _opaque_reason(module: nn.Module) -> str | None:
    if hasattr(module, "_orig_mod") and type(module).__name__ == "OptimizedModule":
        return "compiled by torch.compile"
    if module.__dict__.get("_compiled_call_impl") is not None:
        return "compiled by Module.compile"
    if isinstance(module, torch.jit.ScriptModule):
        return "a TorchScript module"
    if "make_graphed" in getattr(module.forward, "__qualname__", ""):
        return "replayed as a CUDA graph"
    return None


def _timed_at(module: nn.Module, may_fuse: bool) -> str | None:
    """Return the attribute to time a module by if hooks would change its work or are refused.

    nn.TransformerEncoderLayer runs fused, with different rounding, unless a module in it has hooks:
    so neither it nor its children (`may_fuse`) get any. The call that Module.compile has put in
    place includes hooks, which would break its graph. ScriptModules refuse hooks.
    """
    if module.__dict__.get("_compiled_call_impl") is not None:
        return "_compiled_call_impl"
    if may_fuse or isinstance(module, torch.jit.ScriptModule):
        return "forward"
    return None


def find_opaque(entries: Sequence[ModuleEntry], calls: Sequence[int]) -> Iterator[str]:
    """Yield notes on which modules were profiled as a whole, and why.

    Args:
        entries: the modules.
        calls: number of calls of each.
    """
    reasons: dict[str, list[str]] = {}
    for index, entry in enumerate(entries):
        reason = entry.opaque_reason
        if reason is None and calls[index] and _ran_fused(index, entries, calls):
            reason = "its fused inference path calls no submodule"
        if reason is not None:
            reasons.setdefault(reason, []).append(entry.name or "the model")
    for reason, names in reasons.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield NoteOnParts(f"profiled as a whole: {shown} ({reason})")


def _ran_fused(index: int, entries: Sequence[ModuleEntry], calls: Sequence[int]) -> bool:
    layer = entries[index]
    if not isinstance(layer.module, nn.TransformerEncoderLayer):
        return False
    for entry, called in zip(entries[index + 1 :], calls[index + 1 :], strict=True):
        if entry.depth <= layer.depth:
            break
        if called:
            return False
    return True


def frames_compiled() -> int:
    """Return how many frames torch.compile has compiled in this process so far."""
    utils = sys.modules.get("torch._dynamo.utils")
    return 0 if utils is None else int(utils.counters.get("frames", {}).get("total", 0))
