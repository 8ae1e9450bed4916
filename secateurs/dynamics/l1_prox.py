"""Group lasso by proximal steps: a threshold after every optimizer step, and zero is exactly zero.

min L(θ) + λ·Σ_g ‖θ_g‖ by the gradient step that the optimizer takes, and then

    θ_g ← max(0, 1 − lr·λ/‖θ_g‖)·θ_g,      s_g = 1[θ_g ≠ 0]

(Combettes & Wajs 2005; Yuan & Lin 2006 for groups): soft thresholding of single weights, of whole groups otherwise.
A group at zero receives its gradient like any other, and leaves zero where ‖∂L/∂θ_g‖ > λ, as optimality asks.

Without λ the price clears. At every step the groups with the largest norms that fit the path to the budget stay;
lr·λ is the largest norm among those that go, so everyone pays what the last one could not. Whoever the limits
of its layer keep below that price pays nothing.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from ..partition import Players
from ..selection import fit_budget
from ..shapes import Mask, Participation, PerPlayer
from ..spec import Budget
from .base import Pulse, State
from .budgeted import Budgeted, Closing, Timing


class L1ProxSettings(Closing):
    """How dear a norm is.

    Attributes:
        price: λ, charged as lr·λ at every step after the warm-up. None: the price that clears on the way to the budget.
    """

    price: float | None = Field(default=None, ge=0)


class L1Prox(Budgeted):
    """Soft thresholding of ‖θ_g‖ after every optimizer step."""

    name: ClassVar[str] = "l1-prox"
    summary: ClassVar[str] = "norms are soft-thresholded after every step, at a price that clears on the way"
    source: ClassVar[str] = "Yuan & Lin 2006; Combettes & Wajs 2005; Wen et al. 2016"
    Settings: ClassVar[type[Timing]] = L1ProxSettings
    span: ClassVar[tuple[float, float]] = (0.1, 0.5)
    straight = True
    settings: L1ProxSettings

    def __init__(self, budget: Budget, settings: L1ProxSettings | None = None, **given: Any) -> None:
        super().__init__(budget, settings, **given)

    def init(self, players: Players) -> State:
        return {**super().init(players), "norm": self.begin(players, {}), "threshold": 0.0}

    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        if pulse.step < self.settings.warmup:
            return pulse.s
        norm = pulse.sums.sq_norm().sqrt_().to(pulse.s.dtype)
        keep, threshold = self.cleared(players, norm, pulse)
        left = (norm - threshold).clamp_min_(0.0)
        if keep is not None:
            left = torch.where(norm > threshold, left, norm).masked_fill_(~keep, 0.0)
        pulse.sums.scale(left / norm.clamp_min(torch.finfo(norm.dtype).tiny))
        state["norm"], state["threshold"] = left, threshold
        return (left > 0).to(pulse.s.dtype)

    def cleared(self, players: Players, norm: PerPlayer, pulse: Pulse) -> tuple[Mask | None, float]:
        """Who fits the path, and lr·λ. With a price that was given, whoever can pay it stays: None."""
        if self.settings.price is not None:
            return None, pulse.lr * self.settings.price
        keep = fit_budget(players, norm, self.amounts(self.settings.closed(pulse.step)))
        return keep, float(norm.masked_fill(keep, 0.0).max())

    def priority(self, players: Players, state: State, s: Participation) -> PerPlayer:
        return state["norm"]
