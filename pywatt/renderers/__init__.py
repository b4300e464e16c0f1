"""Results as text, one file a kind: `render(result, width)`, and `explain(result, width)` for all.

Renderers import results, never what makes them.
"""
