"""BatchNorm's scales: network slimming's score."""

from __future__ import annotations

from typing import ClassVar

from ..partition import Players
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score
from .places import mean, require_every_layer, scales


class BNScale(Score):
    """|γ_g| of the BatchNorm that a channel goes through (Liu et al. 2017); the mean where it goes through several, as
    in a residual stream.

    Raises:
        StructureError: a channel goes through none; names the layers.
    """

    name: ClassVar[str] = "bn-scale"
    summary: ClassVar[str] = "the smallest |γ| of the BatchNorm behind a channel"
    source: ClassVar[str] = "Liu et al. 2017 (network slimming)"
    granularities: ClassVar[tuple[str, ...]] = ("channel",)

    def require(self, players: Players) -> None:
        super().require(players)
        owners = [found for found, _ in scales(players)]
        require_every_layer(players, owners, self.name, "goes through no BatchNorm with a scale")

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        self.require(players)
        return mean(players, ((found, gamma.abs()) for found, gamma in scales(players)))
