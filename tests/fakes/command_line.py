"""pywatt as a command."""

import os
import subprocess
import sys

PYWATT = [sys.executable, "-m", "pywatt"]


def pywatt(*arguments, **environment):
    return subprocess.run(
        [*PYWATT, *arguments], env={**os.environ, **environment}, capture_output=True, text=True
    )
