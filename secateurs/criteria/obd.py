"""Optimal brain damage: the curvature along a player's own weights."""

from __future__ import annotations

from typing import ClassVar

from ..partition import Players
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score


class OBD(Score):
    """½·θ_gᵀH_ggθ_g, for a single weight ½·h_qq·w_q² (LeCun et al. 1990): the loss that removing the group alone costs
    at a minimum, where the gradient vanishes.

    H_gg need not be positive away from a minimum, and then neither is the score. All curvatures come from
    Hutchinson's estimate in participation space, one Hessian-vector product for each of ``probes`` random signs;
    where the players are no more than the probes, from one product each, and exact.
    """

    name: ClassVar[str] = "obd"
    summary: ClassVar[str] = "the smallest ½·θᵀHθ, the loss's curvature along a group"
    source: ClassVar[str] = "LeCun et al. 1990"
    cost: ClassVar[str] = "a Hessian-vector product for every probe and batch, once"
    needs: ClassVar[str] = "calibration batches"
    calibration: ClassVar[int] = 4

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        return 0.5 * signals.curvature
