"""What a repeated call may change besides its outputs, and putting it back."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

TORCH_OWN = frozenset(nn.Module().__dict__)
NEVER_ENTERED = (type, types.ModuleType, types.FunctionType, types.MethodType, nn.Parameter)


def copy_tensors(argument: Any, copies: dict[int, torch.Tensor] | None = None) -> Any:
    """Copy an argument's tensors, so that a module that works in place spares the user's.

    Layouts stay as they are, and what was one tensor stays one. Objects other than tuples, lists
    and dictionaries are not entered: `State` puts them back.
    """
    copies = {} if copies is None else copies
    if isinstance(argument, torch.Tensor):
        if id(argument) not in copies:
            copies[id(argument)] = _copy(argument)
        return copies[id(argument)]
    if isinstance(argument, tuple) and hasattr(argument, "_fields"):
        return type(argument)(*(copy_tensors(item, copies) for item in argument))
    if type(argument) in (tuple, list):
        return type(argument)(copy_tensors(item, copies) for item in argument)
    if type(argument) is dict:
        return {key: copy_tensors(item, copies) for key, item in argument.items()}
    return argument


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    copied = tensor.detach().clone()
    if tensor.layout != torch.strided or copied.stride() == tensor.stride():
        return copied
    if 0 in tensor.stride():
        # Expanded: several elements are one, and torch itself refuses to write into it.
        return tensor
    like = torch.empty_strided(
        tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device
    )
    return like.copy_(tensor.detach())


class State:
    """Everything that can be reached from a module's attributes and a call's arguments.

    Objects, lists and dictionaries are remembered by what they hold, and tensors in them by their
    content. Parameters and buffers are not looked at: see `preserved_state`.
    """

    def __init__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._undo: list[Callable[[], bool]] = []
        self._tensors: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._seen: set[int] = set()
        for part in module.modules():
            self._take_dict(part.__dict__, skip=TORCH_OWN)
        for item in (*args, *kwargs.values()):
            self._take(item)

    def restore(self) -> bool:
        """Put objects back as they were; tells whether any had changed."""
        changed = [undo() for undo in self._undo]
        return any(changed)

    def restore_tensors(self) -> bool:
        """Put the content of tensors back; tells whether any had changed."""
        changed = False
        for tensor, content in self._tensors:
            if not torch.equal(tensor, content):
                with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                    tensor.copy_(content)
                changed = True
        return changed

    def _take(self, item: Any) -> None:
        if isinstance(item, torch.Tensor):
            if (
                id(item) not in self._seen
                and not item.is_meta
                and not isinstance(item, nn.Parameter)
            ):
                self._seen.add(id(item))
                self._tensors.append((item, item.detach().clone()))
        elif isinstance(item, dict):
            self._take_dict(item)
        elif isinstance(item, list):
            self._take_list(item)
        elif isinstance(item, (tuple, set, frozenset)):
            for inner in item:
                self._take(inner)
        elif not isinstance(item, (nn.Module, *NEVER_ENTERED)) and hasattr(item, "__dict__"):
            self._take_dict(vars(item))

    def _take_dict(self, live: Any, skip: frozenset[str] = frozenset()) -> None:
        if id(live) in self._seen or not isinstance(live, dict):
            return
        self._seen.add(id(live))
        kept = dict(live)

        def undo() -> bool:
            if len(live) == len(kept) and all(
                live.get(key, live) is item for key, item in kept.items()
            ):
                return False
            live.clear()
            live.update(kept)
            return True

        self._undo.append(undo)
        for key, item in kept.items():
            if key not in skip:
                self._take(item)

    def _take_list(self, live: list[Any]) -> None:
        if id(live) in self._seen:
            return
        self._seen.add(id(live))
        kept = list(live)

        def undo() -> bool:
            if len(live) == len(kept) and all(a is b for a, b in zip(live, kept, strict=True)):
                return False
            live[:] = kept
            return True

        self._undo.append(undo)
        for item in kept:
            self._take(item)
