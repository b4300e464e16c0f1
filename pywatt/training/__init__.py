"""Energy of a training: its phases, the layers in them, its epochs, and what more would take.

`session.py` measures a user's own loop and `loop.py` brings one; `hooks.py` records phases and
modules' calls, `segment.py` attributes parts of a training, `ledger.py` adds them up, `assembly.py`
makes of it what is told: `result.py`.
"""
