"""What `import pywatt` takes on top of `import numpy`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from comparison import Row, Target, check, show_s

LIMIT_S = 0.15
PROGRAM = """
import sys, time
start_s = time.perf_counter()
import numpy
between_s = time.perf_counter()
import pywatt
print(time.perf_counter() - between_s, between_s - start_s, "torch" in sys.modules)
"""


def measure(*, quick: bool) -> list[Row]:
    taken = []
    for _ in range(1 if quick else 9):
        printed = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
        ).stdout.split()
        check(printed[2] == "False", "import pywatt imports torch")
        taken.append((float(printed[0]), float(printed[1])))
    ours_s, numpy_s = np.median(taken, axis=0)
    return [
        Row(
            "import pywatt after numpy; other: import numpy",
            show_s(ours_s),
            show_s(numpy_s),
            ours_s / numpy_s,
            Target(ours_s, "<=", LIMIT_S, "<= 150 ms"),
        )
    ]
