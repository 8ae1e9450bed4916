"""First-order Taylor expansion: the loss change that removing a player predicts."""

from __future__ import annotations

from typing import ClassVar

from ..partition import Players
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score


class Taylor(Score):
    """|⟨∂L/∂θ_g, θ_g⟩| = |∂L/∂s_g| at s = 1: removing the group changes the loss by that much to first
    order (Molchanov et al. 2019). The gradient is averaged over calibration batches.
    """

    name: ClassVar[str] = "taylor"
    summary: ClassVar[str] = "the smallest |⟨∂L/∂θ, θ⟩| of a trained network"
    source: ClassVar[str] = "Molchanov et al. 2019"
    cost: ClassVar[str] = "a few backward passes, once"
    needs: ClassVar[str] = "calibration batches"

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        return players.gates.dot(signals.gradient, signals.theta).abs_()
