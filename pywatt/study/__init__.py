"""Many models on one task: accuracy against electricity.

`settings.py` reads the study file and plans its runs, `one_run.py` does one, `store.py` saves it,
`result.py` makes the table of all, one row (`row.py`) per model, ranked by `ranking.py`; `api.py`
is `pywatt.Study`.
"""
