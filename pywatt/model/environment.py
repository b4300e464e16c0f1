"""Versions, devices and date of a run."""

from __future__ import annotations

import platform
from datetime import datetime, timezone

import torch

from pywatt._core import __version__
from pywatt.model.hooks import ModuleHooks


def date_now() -> str:
    """Return the date and time for a result: UTC, in ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def environment(hooks: ModuleHooks, date: str) -> dict[str, str]:
    """Return versions, devices and date of a run."""
    found = {
        "date": date,
        "pywatt": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "devices": ", ".join(hooks.devices),
    }
    for device, timeline in hooks.timelines.items():
        found[device] = timeline.device_name
    return found
