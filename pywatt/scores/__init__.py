"""Scores, costs and the Pareto front: pure functions of plain numbers."""
