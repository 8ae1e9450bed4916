"""Sparse evolutionary training: the smallest connections are dropped, random ones grown (Mocanu et al. 2018).

f(t) = ζ at every update, the same share of every layer.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ..partition import Players
from ..shapes import PerPlayer
from .base import Pulse
from .budgeted import Timing
from .rewiring import Rewiring, RewiringSettings


class SetSettings(RewiringSettings):
    """When and how much is rewired.

    Attributes:
        fraction: ζ, the share of a layer's connections that an update exchanges.
    """

    fraction: float = Field(default=0.3, gt=0, le=1)


class SparseEvolution(Rewiring):
    """Drop the smallest, grow at random."""

    name: ClassVar[str] = "set"
    summary: ClassVar[str] = "sparse from the first step: the smallest connections are dropped, random ones grown"
    source: ClassVar[str] = "Mocanu et al. 2018"
    Settings: ClassVar[type[Timing]] = SetSettings
    settings: SetSettings

    def fraction(self, step: int) -> float:
        return self.settings.fraction

    def growth(self, players: Players, pulse: Pulse, draw: PerPlayer) -> PerPlayer:
        return draw
