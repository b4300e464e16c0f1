"""Pictures of a study, as PNG or SVG, on a light or dark background: one file per kind.

They need matplotlib and textalloc, from the extra `report`, and import them when called.
"""

from pywatt.study.pictures.bars import energy_bars, score_bars
from pywatt.study.pictures.canvas import save
from pywatt.study.pictures.scatter import accuracy_against_energy
from pywatt.study.pictures.stability import rank_stability

__all__ = ["accuracy_against_energy", "energy_bars", "rank_stability", "save", "score_bars"]
