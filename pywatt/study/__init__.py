"""Many models on one task: accuracy against electricity.

`settings.py` reads the study file and plans its runs, `one_run.py` does one, `store.py` keeps it,
`result.py` makes the table of all, a row (`row.py`) a model, ranked by `ranking.py` with the Pareto
front of `pareto.py`; `public.py` is `pywatt.Study`.
"""
