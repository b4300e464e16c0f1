"""Comparison of profiles: what changed, layer by layer, and is it significant?

`compare.py` reads and matches, `result.py` is the finished comparison, `significance.py` the
statistics. Renderers read the result only.
"""
