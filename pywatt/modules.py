"""The modules of a model: their names, devices and parameters, and which must be left whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class ModuleEntry:
    """One module of the tree.

    Attributes:
        name: dotted name; empty for the model itself.
        module: the module.
        depth: 0 for the model itself.
        device: torch device that its work is charged to.
        parameters: number of parameters, its own and its children's, each counted once.
        whole: why its children cannot be seen; None where they can.
    """

    name: str
    module: nn.Module
    depth: int
    device: str
    parameters: int
    whole: str | None

    @property
    def type(self) -> str:
        """Name of the module's class."""
        inner = getattr(self.module, "_orig_mod", self.module)
        return type(inner).__name__


def module_entries(
    model: nn.Module,
    default_device: str = "cpu",
    home: Callable[[nn.Module], str | None] | None = None,
) -> list[ModuleEntry]:
    """List every module once, parents before children, leaving out what is inside whole ones.

    Args:
        model: the model.
        default_device: device of a model that has no tensors.
        home: tells the device that a module's work is charged to, None where that is its
            container's; default: `home_device`.
    """
    home = home or home_device
    entries: list[ModuleEntry] = []
    seen: set[int] = set()

    def walk(name: str, module: nn.Module, depth: int, outer_device: str) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        device = home(module) or outer_device
        whole = _why_whole(module)
        entries.append(
            ModuleEntry(
                name=name,
                module=module,
                depth=depth,
                device=device,
                parameters=sum(p.numel() for p in _parameters(module)),
                whole=whole,
            )
        )
        if whole is None:
            for child_name, child in module.named_children():
                walk(f"{name}.{child_name}" if name else child_name, child, depth + 1, device)

    walk("", model, 0, default_device)
    return entries


def device_name(device: torch.device) -> str:
    """Name of a device with its index: ``cpu``, ``cuda:0``."""
    if device.type == "cuda" and device.index is None:
        return f"cuda:{torch.cuda.current_device()}"
    return str(device)


def home_device(module: nn.Module) -> str | None:
    """Device of the module's first own tensor, else of the first one below it."""
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


def _parameters(module: nn.Module) -> Iterator[torch.Tensor]:
    for parameter in module.parameters():
        # A lazy module's parameters have no size before its first call.
        if not nn.parameter.is_lazy(parameter):
            yield parameter


def _why_whole(module: nn.Module) -> str | None:
    if hasattr(module, "_orig_mod") and type(module).__name__ == "OptimizedModule":
        return "compiled by torch.compile"
    if getattr(module, "_compiled_call_impl", None) is not None:
        return "compiled by Module.compile"
    if isinstance(module, torch.jit.ScriptModule):
        return "a TorchScript module"
    if "make_graphed" in getattr(module.forward, "__qualname__", ""):
        return "replayed as a CUDA graph"
    if _takes_fast_path(module):
        return "its fused inference path calls no submodule"
    return None


def _takes_fast_path(module: nn.Module) -> bool:
    """Tell whether an encoder layer can run fused, which a hook anywhere inside would prevent.

    The conditions that do not depend on the input, from the forward of nn.TransformerEncoderLayer
    in torch 2.13; preventing the fused path would change the numbers it computes.
    """
    if type(module) is not nn.TransformerEncoderLayer or module.training:
        return False
    attention = module.self_attn
    return bool(
        torch.backends.mha.get_fastpath_enabled()
        and attention.batch_first
        and attention.in_proj_bias is not None
        and attention._qkv_same_embed_dim
        and not attention.num_heads % 2
        and module.activation_relu_or_gelu
        and module.norm1.eps == module.norm2.eps
    )


def find_wholes(entries: list[ModuleEntry]) -> Iterator[str]:
    """Say which modules were profiled as a whole, and why."""
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        if entry.whole is not None:
            reasons.setdefault(entry.whole, []).append(entry.name or "the model")
    for reason, names in reasons.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield f"profiled as a whole: {shown} ({reason})"


def wraps_forward(entry: ModuleEntry) -> bool:
    """Tell whether a module must be timed around its forward, since hooks would change its path."""
    return entry.whole is not None and _takes_fast_path(entry.module)


def compiled_call(module: nn.Module) -> Any:
    """Return what Module.compile has put in place of the call, or None."""
    return module.__dict__.get("_compiled_call_impl")
