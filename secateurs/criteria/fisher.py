"""Fisher pruning: the curvature that single examples' gradients tell of."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..partition import Players
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score


class Fisher(Score):
    """½·E_n[(∂L_n/∂s_g)²] with ∂L_n/∂s_g = ⟨∂L_n/∂θ_g, θ_g⟩ of one example n (Theis et al. 2018); for a single weight
    ½·w²·E_n[g_n²], the diagonal of the empirical Fisher matrix.

    The Fisher matrix is the Hessian of the log likelihood where the model is right, and never negative.
    """

    name: ClassVar[str] = "fisher"
    summary: ClassVar[str] = "the smallest mean squared slope ½·E[⟨g, θ⟩²] over single examples"
    source: ClassVar[str] = "Theis et al. 2018"
    cost: ClassVar[str] = "a backward pass for every example of some batches, once"
    needs: ClassVar[str] = "calibration batches, example by example"
    calibration: ClassVar[int] = 4

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        theta, total = signals.theta, torch.zeros(players.count, dtype=players.dtype, device=players.device)
        for gradient in signals.each_example():
            total += players.gates.dot(gradient, theta).square_()
        return 0.5 * total / signals.examples
