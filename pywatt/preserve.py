"""Leaving a model and the random generators as they were found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def preserved_state(model: nn.Module) -> Iterator[None]:
    """Put buffers, train/eval modes and random states back on exit, whatever happens inside."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]
    generator_state = torch.get_rng_state()
    uses_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # untyped in torch
    cuda_states = torch.cuda.get_rng_state_all() if uses_cuda else []
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002  (the user may draw from the global one)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for module, name, buffer, content in buffers:
                if buffer is not None and content is not None:
                    # Into the same storage: the user may hold views of it.
                    buffer.copy_(content)
                module._buffers[name] = buffer
        torch.set_rng_state(generator_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
