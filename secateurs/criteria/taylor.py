"""Taylor expansions: the loss change that removing a player predicts."""

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


class Taylor2(Score):
    """L(s_g = 0) − L(s = 1) ≈ −⟨g, θ_g⟩ + ½·θ_gᵀH_ggθ_g, with its sign: a group whose removal lowers the loss goes
    first. Exact where the loss is quadratic in the group (Molchanov et al. 2017 stop at the first term; LeCun et al.
    1990 at the second).

    The curvature is Hutchinson's estimate over ``probes`` random signs, exact where there are as few players.
    """

    name: ClassVar[str] = "taylor2"
    summary: ClassVar[str] = "the smallest loss change to second order, −⟨g, θ⟩ + ½·θᵀHθ"
    source: ClassVar[str] = "LeCun et al. 1990; Molchanov et al. 2017"
    cost: ClassVar[str] = "a Hessian-vector product for every probe and batch, once"
    needs: ClassVar[str] = "calibration batches"
    calibration: ClassVar[int] = 4

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        return 0.5 * signals.curvature - signals.slope
