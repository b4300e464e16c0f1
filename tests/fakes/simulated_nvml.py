"""Build and control the simulated libnvidia-ml.so.1 of csrc/tests/simulated_nvml."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@functools.cache
def library_path() -> Path:
    """Return the library of PYWATT_SIMULATED_NVML, else the one built (once) under build/."""
    given = os.environ.get("PYWATT_SIMULATED_NVML")
    if given:
        return Path(given).resolve(strict=True)
    folder = REPOSITORY / "build" / "simulated_nvml"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel test processes build once; freed with the file
        _build(folder)
    return folder / "simulated_nvml" / "libnvidia-ml.so.1"


def _build(folder: Path) -> None:
    configure = [
        _program("cmake"),
        *("-S", str(REPOSITORY), "-B", str(folder), "-G", "Ninja", "-DPYWATT_TESTS=ON"),
        f"-DCMAKE_MAKE_PROGRAM={_program('ninja')}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    try:
        _run(configure)
    except RuntimeError:
        # A folder configured from another place or by another CMake.
        _run([*configure, "--fresh"])
    _run([_program("cmake"), "--build", str(folder), "--target", "simulated_nvml"])


def _program(name: str) -> str:
    """Return a program on PATH, or from the packages cmake and ninja."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which(name) or shutil.which(name, path=scripts)
    if found is None:
        raise RuntimeError(f"{name} is not on PATH nor in {scripts}: run 'pip install {name}'")
    return found


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"the simulated NVML library was not built: {' '.join(command)}\n{done.stdout}"
        )


def environment(**settings: object) -> dict[str, str]:
    """Return variables by which another process finds this library, in pywatt and the loader.

    `settings` are those of control.h, such as `devices=2, power_w=300`; names with a dot are given
    as `**{"1.gain": 1.05, "fail.nvmlInit_v2": 9}`.
    """
    path = library_path()
    return {
        "PYWATT_NVML_LIBRARY": str(path),
        "LD_LIBRARY_PATH": os.pathsep.join(
            filter(None, [str(path.parent), os.environ.get("LD_LIBRARY_PATH")])
        ),
        "SIMULATED_NVML": ";".join(f"{key}={value}" for key, value in settings.items()),
    }


class SimulatedNvml:
    """The library as this process sees it. Times are those of time.monotonic(), in seconds.

    Loading it makes a later dlopen("libnvidia-ml.so.1"), such as nvidia-ml-py's, find the same one.
    Invalid arguments raise ValueError. See control.h for what each call means.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or library_path()
        self._library = ctypes.CDLL(str(self.path))
        for name in ("true_energy_j", "true_power_w"):
            getattr(self._library, f"simulated_nvml_{name}").restype = ctypes.c_double
        self._library.simulated_nvml_calls.restype = ctypes.c_ulonglong

    def reset(self, devices: int = 1) -> None:
        self._call("reset", ctypes.c_uint(devices))

    def configure(self, device: int = 0, **properties: float) -> None:
        for name, value in properties.items():
            self._call("configure", ctypes.c_uint(device), name.encode(), ctypes.c_double(value))

    def set_time(self, time_s: float | None) -> None:
        """Stop the simulation's time at `time_s`; None: real time again."""
        self._call("set_time", ctypes.c_double(-1.0 if time_s is None else time_s))

    def set_power(self, power_w: float, *, device: int = 0) -> None:
        self._call("set_power", ctypes.c_uint(device), ctypes.c_double(power_w))

    def play(
        self,
        steps: Iterable[tuple[float, float]],
        *,
        start_s: float,
        repeat: bool = False,
        device: int = 0,
    ) -> None:
        """Play `steps` of (duration_s, power_w)."""
        durations, powers = zip(*steps, strict=True)
        array = ctypes.c_double * len(durations)
        self._call(
            "play",
            ctypes.c_uint(device),
            ctypes.c_double(start_s),
            ctypes.c_uint(len(durations)),
            array(*durations),
            array(*powers),
            ctypes.c_int(repeat),
        )

    def true_energy_j(self, start_s: float, end_s: float, *, device: int = 0) -> float:
        return float(
            self._library.simulated_nvml_true_energy_j(
                ctypes.c_uint(device), ctypes.c_double(start_s), ctypes.c_double(end_s)
            )
        )

    def true_power_w(self, time_s: float, *, device: int = 0) -> float:
        return float(
            self._library.simulated_nvml_true_power_w(
                ctypes.c_uint(device), ctypes.c_double(time_s)
            )
        )

    def fail(self, function: str, code: int, *, times: int = -1, device: int = 0) -> None:
        """Fail a function, "nvmlDeviceGetPowerUsage" or "field:186", with an nvmlReturn `code`."""
        self._call(
            "fail",
            ctypes.c_uint(device),
            function.encode(),
            ctypes.c_int(code),
            ctypes.c_int(times),
        )

    def hang(self, hang: bool = True, *, device: int = 0) -> None:
        self._call("hang", ctypes.c_uint(device), ctypes.c_int(hang))

    def calls(self, function: str) -> int:
        calls = int(self._library.simulated_nvml_calls(function.encode()))
        if calls == 2**64 - 1:
            raise ValueError(f"the simulated library has no function {function!r}")
        return calls

    def _call(self, name: str, *arguments: object) -> None:
        if getattr(self._library, f"simulated_nvml_{name}")(*arguments) != 0:
            shown = ", ".join(str(getattr(argument, "value", argument)) for argument in arguments)
            raise ValueError(f"the simulated library refused {name}({shown})")
