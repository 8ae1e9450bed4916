"""The game's utility, its gradient and its best responses (Shah & Khan, *Pruning as a Game*).

    U_g = α·b_g·s_g − β‖θ_g‖²s_g² − γ|s_g| − η·s_g·Σ_{j≠g} s_j⟨θ_g,θ_j⟩                    (8)–(10)

With the benefit linear in s_g this is a concave quadratic on [0, 1], so what a player would do alone
(best response), what it would gain by it (Nash gap) and when zero is its only good strategy are closed forms.

``benefit='literal'`` is the paper's ⟨∇_θ L, θ⟩ = s·∂L/∂s, which pays a player for raising the loss;
``'marginal'`` is −∂L/∂s, the loss that its participation removes.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from ..shapes import Participation, PerPlayer
from ..spec import Frozen

Benefit = Literal["literal", "marginal"]


class Utility(Frozen):
    """Weights of the utility's terms.

    Attributes:
        alpha: of the benefit (9).
        beta: of the quadratic cost ‖θ_g‖²s_g² (10).
        gamma: of the price |s_g| (10).
        eta: of competition within a layer (10).
        benefit: 'marginal' (default) or 'literal', as printed.
    """

    alpha: float = Field(default=1.0, gt=0)
    beta: float = Field(default=0.0, ge=0)
    gamma: float = Field(default=0.0, ge=0)
    eta: float = Field(default=0.0, ge=0)
    benefit: Benefit = "marginal"

    def benefits(self, slope: PerPlayer, s: Participation) -> PerPlayer:
        """b_g from ∂L/∂s_g: −∂L/∂s_g, or the printed s_g·∂L/∂s_g."""
        return -slope if self.benefit == "marginal" else s * slope

    def value(self, s: Participation, b: PerPlayer, sq: PerPlayer, rivalry: PerPlayer) -> PerPlayer:
        """U_g, eq. (8)–(10).

        Args:
            s: participation. b: benefit per unit of participation. sq: ‖θ_g‖².
            rivalry: Σ_{j≠g} s_j⟨θ_g,θ_j⟩.
        """
        cost = self.beta * sq * s * s + self.gamma * s.abs() + self.eta * s * rivalry
        return self.alpha * b * s - cost

    def gradient(self, s: Participation, b: PerPlayer, sq: PerPlayer, rivalry: PerPlayer) -> PerPlayer:
        """∂U_g/∂s_g, eq. (18); sign(0) is taken as 1, the derivative into [0, 1]."""
        sign = torch.where(s < 0, -torch.ones_like(s), torch.ones_like(s))
        return self.alpha * b - 2 * self.beta * sq * s - self.gamma * sign - self.eta * rivalry

    def best_response(self, b: PerPlayer, sq: PerPlayer, rivalry: PerPlayer) -> Participation:
        """argmax over [0, 1] of U_g, eq. (14) clipped; where β‖θ‖² = 0 the maximum is at an end."""
        surplus = self.alpha * b - self.gamma - self.eta * rivalry
        curvature = 2 * self.beta * sq
        interior = (surplus / curvature.clamp_min(torch.finfo(b.dtype).tiny)).clamp(0, 1)
        return torch.where(curvature > 0, interior, (surplus > 0).to(b.dtype))

    def nash_gap(self, s: Participation, b: PerPlayer, sq: PerPlayer, rivalry: PerPlayer) -> PerPlayer:
        """max_{s'} U_g(s', s_−g) − U_g(s) ≥ 0; all zero exactly at a Nash equilibrium (11)."""
        best = self.best_response(b, sq, rivalry)
        return self.value(best, b, sq, rivalry) - self.value(s, b, sq, rivalry)

    def priced_out(self, b: PerPlayer, rivalry: PerPlayer) -> PerPlayer:
        """Condition (15) at this profile: α·b_g < γ + η·Σ_{j≠g} s_j⟨θ_g,θ_j⟩. Boolean."""
        return self.alpha * b < self.gamma + self.eta * rivalry

    def dominated(self, b: PerPlayer, lowest_rivalry: PerPlayer) -> PerPlayer:
        """Condition (12): zero is strictly best whatever the others do. Boolean.

        Args:
            lowest_rivalry: Σ_{j≠g} min(0, ⟨θ_g,θ_j⟩), the kindest profile of the others.
        """
        return self.alpha * b < self.gamma + self.eta * lowest_rivalry
