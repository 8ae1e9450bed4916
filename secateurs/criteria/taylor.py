"""First-order Taylor expansion: the loss change that removing a player predicts."""

from __future__ import annotations

from typing import ClassVar

from ..partition import Players
from ..shapes import PerPlayer
from .base import Score, Signals


class Taylor(Score):
    """|⟨∂L/∂θ_g, θ_g⟩| = |∂L/∂s_g| at s = 1: removing the group changes the loss by that much to first
    order (Molchanov et al. 2019). The gradient is averaged over calibration batches.
    """

    name: ClassVar[str] = "taylor"
    needs_gradients: ClassVar[bool] = True

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        if signals.gradients is None:
            raise ValueError("the Taylor score needs gradients; collect them over calibration batches")
        held = [p.detach() for p in players.gates.parameters]
        return players.gates.dot(list(signals.gradients), held).abs()
