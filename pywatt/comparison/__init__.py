"""Profiles against one another: what changed, layer by layer, and is it more than chance?

`public.py` reads and matches, `result.py` is the finished comparison, `significance.py` the
statistics. Renderers read the result only.
"""
