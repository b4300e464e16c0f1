"""Save and restore what a repeated call may change besides its outputs."""

from __future__ import annotations

import random
import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from pywatt.model.state import version_of
from pywatt.support.signals import uninterrupted

MODULE_ATTRIBUTES = frozenset(nn.Module().__dict__)
NEVER_ENTERED = (type, types.ModuleType, types.FunctionType, types.MethodType, nn.Parameter)


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    copied = tensor.detach().clone()
    if tensor.layout != torch.strided or copied.stride() == tensor.stride():
        return copied
    if 0 in tensor.stride():
        # Expanded: elements share memory, and torch itself refuses to write into it.
        return tensor
    like = torch.empty_strided(
        tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device
    )
    return like.copy_(tensor.detach())


def copy_tensors(
    argument: Any,
    copies: dict[int, torch.Tensor] | None = None,
    copy: Callable[[torch.Tensor], torch.Tensor] = _copy,
) -> Any:
    """Copy an argument's tensors, so that in-place modules do not change the user's.

    A tensor that occurs twice is copied once. Objects other than tuples, lists and dictionaries are
    not entered: `State` restores them.

    Args:
        argument: what a module is called with.
        copies: the copies so far, by the ids of the originals.
        copy: copies one tensor; by default without its graph, keeping its layout.
    """
    copies = {} if copies is None else copies
    if isinstance(argument, torch.Tensor):
        if id(argument) not in copies:
            copies[id(argument)] = copy(argument)
        return copies[id(argument)]
    if isinstance(argument, tuple) and hasattr(argument, "_fields"):
        return type(argument)(*(copy_tensors(item, copies, copy) for item in argument))
    if type(argument) in (tuple, list):
        return type(argument)(copy_tensors(item, copies, copy) for item in argument)
    if type(argument) is dict:
        return {key: copy_tensors(item, copies, copy) for key, item in argument.items()}
    return argument


class State:
    """Saves everything reachable from a module's attributes and a call's arguments.

    Of objects, lists, sets and dictionaries it saves the items, of random generators the state, and
    of tensors and arrays the content. For parameters and buffers, see `preserved_state`.
    """

    def __init__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._undo: list[Callable[[], bool]] = []
        self._tensors: list[tuple[torch.Tensor, torch.Tensor, int | None]] = []
        self._saved_ids: set[int] = set()
        for part in module.modules():
            self._save_dict(part.__dict__, skip=MODULE_ATTRIBUTES)
        for item in (*args, *kwargs.values()):
            self._save(item)

    def restore(self) -> bool:
        """Restore objects; return whether any had changed."""
        changed = [undo() for undo in self._undo]
        return any(changed)

    def restore_tensors(self) -> bool:
        """Restore the content of tensors; return whether any had changed."""
        changed = False
        for tensor, content, version in self._tensors:
            try:
                same = torch.equal(tensor, content)
            except Exception:  # sparse and nested tensors cannot be compared
                same = version_of(tensor) == version
            if not same:
                with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                    tensor.copy_(content)
                changed = True
        return changed

    def _save(self, item: Any) -> None:
        if isinstance(item, torch.Tensor):
            if item.is_meta or isinstance(item, nn.Parameter) or not self._is_new(item):
                return
            self._tensors.append((item, item.detach().clone(), version_of(item)))
        elif isinstance(item, dict):
            self._save_dict(item)
        elif isinstance(item, (list, deque)):
            self._save_list(item)
        elif isinstance(item, (set, tuple, frozenset)):
            if isinstance(item, set):
                self._save_set(item)
            for inner in item:
                self._save(inner)
        elif isinstance(item, np.ndarray):
            self._save_array(item)
        elif isinstance(item, (torch.Generator, random.Random, np.random.Generator)):
            self._save_generator(item)
        elif not isinstance(item, (nn.Module, *NEVER_ENTERED)):
            if hasattr(item, "__dict__"):
                self._save_dict(vars(item))
            self._save_slots(item)

    def _is_new(self, item: Any) -> bool:
        if id(item) in self._saved_ids:
            return False
        self._saved_ids.add(id(item))
        return True

    def _save_dict(self, live: Any, skip: frozenset[str] = frozenset()) -> None:
        if not isinstance(live, dict) or not self._is_new(live):
            return
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
                self._save(item)

    def _save_list(self, live: list[Any] | deque[Any]) -> None:
        if not self._is_new(live):
            return
        kept = list(live)

        def undo() -> bool:
            if len(live) == len(kept) and all(a is b for a, b in zip(live, kept, strict=True)):
                return False
            live.clear()
            live.extend(kept)
            return True

        self._undo.append(undo)
        for item in kept:
            self._save(item)

    def _save_set(self, live: set[Any]) -> None:
        if not self._is_new(live):
            return
        kept = set(live)

        def undo() -> bool:
            if live == kept:
                return False
            live.clear()
            live.update(kept)
            return True

        self._undo.append(undo)

    def _save_array(self, live: np.ndarray[Any, Any]) -> None:
        if not live.flags.writeable or live.dtype.hasobject or not self._is_new(live):
            return
        kept = live.copy()

        def undo() -> bool:
            if live.tobytes() == kept.tobytes():
                return False
            live[...] = kept
            return True

        self._undo.append(undo)

    def _save_generator(self, live: torch.Generator | random.Random | np.random.Generator) -> None:
        if not self._is_new(live):
            return
        kept = _state_of(live)

        def undo() -> bool:
            now = _state_of(live)
            if torch.equal(now, kept) if isinstance(now, torch.Tensor) else repr(now) == repr(kept):
                return False
            if isinstance(live, torch.Generator):
                live.set_state(kept)
            elif isinstance(live, random.Random):
                live.setstate(kept)
            else:
                live.bit_generator.state = kept
            return True

        self._undo.append(undo)

    def _save_slots(self, live: Any) -> None:
        slots = list(_filled_slots(live))
        if not slots or not self._is_new(live):
            return

        def undo() -> bool:
            now = list(_filled_slots(live))
            if len(now) == len(slots) and all(
                a == b and one is other for (a, one), (b, other) in zip(now, slots, strict=True)
            ):
                return False
            for name, _ in now:
                object.__delattr__(live, name)
            for name, item in slots:
                object.__setattr__(live, name, item)
            return True

        self._undo.append(undo)
        for _, item in slots:
            self._save(item)


@contextmanager
def preserved_attributes(model: nn.Module) -> Iterator[None]:
    """Restore on exit the attributes of the model's modules, except buffers."""
    state = State(model, (), {})
    try:
        yield
    finally:
        with uninterrupted():
            state.restore()
            state.restore_tensors()


def _state_of(generator: torch.Generator | random.Random | np.random.Generator) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.bit_generator.state


def _filled_slots(item: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and content of each slot of an object that is set."""
    for kind in type(item).__mro__:
        for name, member in vars(kind).items():
            if isinstance(member, types.MemberDescriptorType) and "__slots__" in vars(kind):
                try:
                    yield name, member.__get__(item)
                except AttributeError:
                    continue
