"""Leave a model and the random generators as they were found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from pywatt.support.signals import uninterrupted


@contextmanager
def preserved_state(model: nn.Module) -> Iterator[None]:
    """Restore buffers, train/eval modes and random states on exit, whatever happens inside."""
    # A frozen TorchScript module has no mode.
    modes = [(m, m.training) for m in model.modules() if hasattr(m, "training")]
    buffers = [
        (module, name, buffer, _content(buffer), version_of(buffer))
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]
    generator_state = torch.get_rng_state()
    uses_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # untyped in torch
    cuda_states = torch.cuda.get_rng_state_all() if uses_cuda else []
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002  (the user may use the global one)

    def restore() -> None:
        for module, training in modes:
            if module.training is not training:
                module.training = training
        for module, name, buffer, content, version in buffers:
            restored = buffer
            if buffer is not None and content is not None:
                restored = _restored(buffer, content, version)
            if name not in module._buffers or module._buffers[name] is not restored:
                module._buffers[name] = restored
        torch.set_rng_state(generator_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002

    try:
        yield
    finally:
        try:
            with uninterrupted():
                restore()
        except BaseException:
            restore()  # Ctrl-C came just before it was blocked
            raise


def _content(buffer: torch.Tensor | None) -> torch.Tensor | None:
    """Return a copy of a buffer; None if it has no content yet (lazy, meta)."""
    if buffer is None or nn.parameter.is_lazy(buffer) or buffer.is_meta:
        return None
    return buffer.detach().clone()


def version_of(buffer: torch.Tensor | None) -> int | None:
    """Return how often a buffer was written to; None if that is not counted."""
    if buffer is None or nn.parameter.is_lazy(buffer) or buffer.is_inference():
        return None
    return buffer._version


def _restored(buffer: torch.Tensor, content: torch.Tensor, version: int | None) -> torch.Tensor:
    """Restore a buffer in its own storage, since the user may hold views of it.

    Write only if needed: even a write that changes nothing makes a pending backward pass fail.
    """
    try:
        if not torch.equal(buffer, content):
            with torch.inference_mode(buffer.is_inference()), torch.no_grad():
                buffer.copy_(content)
    except Exception:
        # Sparse and nested tensors cannot be compared, expanded ones not written to: the copy
        # replaces the buffer only if it was written to.
        return buffer if version_of(buffer) == version else content
    return buffer
