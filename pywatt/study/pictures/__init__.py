"""Pictures of a study, for PNG and SVG, on light or dark ground: one file a kind of picture.

They need matplotlib and textalloc, which the extra `report` brings, and import them when called.
"""

from pywatt.study.pictures.bars import energy_bars, score_bars
from pywatt.study.pictures.canvas import save
from pywatt.study.pictures.scatter import accuracy_against_energy
from pywatt.study.pictures.stability import rank_stability

__all__ = ["accuracy_against_energy", "energy_bars", "rank_stability", "save", "score_bars"]
