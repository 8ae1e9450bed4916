"""Sparse evolutionary training: the smallest connections are dropped, random ones grown (Mocanu et al. 2018).

f(t) = ζ at every update, the same share of every layer.
"""

from __future__ import annotations

from typing import ClassVar

from ..partition import Players
from ..shapes import PerPlayer
from .base import Pulse
from .rewiring import Rewiring


class SparseEvolution(Rewiring):
    """Drop the smallest, grow at random."""

    name: ClassVar[str] = "set"
    summary: ClassVar[str] = "sparse from the first step: the smallest connections are dropped, random ones grown"
    source: ClassVar[str] = "Mocanu et al. 2018"

    def fraction(self, step: int) -> float:
        return self.settings.fraction

    def growth(self, players: Players, pulse: Pulse, draw: PerPlayer) -> PerPlayer:
        return draw
