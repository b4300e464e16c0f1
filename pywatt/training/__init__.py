"""Energy of a training run: its phases, layers and epochs, and extrapolation to more epochs.

`profiler.py` measures the user's own loop, `loop.py` provides one. `hooks.py` records phases and
module calls, `segment.py` attributes parts of the run, `ledger.py` sums them, and `assembly.py`
builds the result, defined in `result.py`.
"""
