"""Peak memory of a run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak(device: torch.device) -> bool:
    """Reset the peak; return whether that is possible."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    with suppress(OSError):
        _CLEAR.write_text("5")  # proc(5): resets the peak resident set size
        return True
    return False


def peak_bytes(device: torch.device) -> int | None:
    """Return the peak since the reset: allocated by torch on a GPU, resident in all on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError, ValueError, IndexError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
