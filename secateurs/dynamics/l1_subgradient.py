"""Group lasso by its subgradient: λ·θ_g/‖θ_g‖ is added to the gradient, and the optimizer does the rest.

    ∂L/∂θ_g + λ·θ_g/‖θ_g‖,      0 where θ_g = 0

(Liu et al. 2017 for BatchNorm's γ, Wen et al. 2016 for filters). The subgradient is as long next to zero as far from
it: a group that should be zero steps over it, back and forth with amplitude lr·λ, and never is. The baseline for the
proximal step, which needs no threshold at the cut: here the smallest norms are cut, and the network recovers from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from ..partition import Players
from ..shapes import Participation, PerPlayer
from .base import Arithmetic, Pulse, State
from .budgeted import Budgeted, Timing


class L1SubgradientSettings(Timing):
    """How dear a norm is.

    Attributes:
        price: λ, the length of what is added to every group's gradient after the warm-up.
    """

    price: float = Field(default=1e-3, ge=0)


class L1Subgradient(Budgeted):
    """The penalty λ·Σ‖θ_g‖ in the gradient; the budget is met by the cut alone."""

    name: ClassVar[str] = "l1-subgradient"
    summary: ClassVar[str] = "a penalty on norms is added to the gradient, then the smallest are cut"
    source: ClassVar[str] = "Liu et al. 2017; Wen et al. 2016"
    Settings: ClassVar[type[Timing]] = L1SubgradientSettings
    span: ClassVar[tuple[float, float]] = (0.0, 0.5)
    uses_sums = False
    settings: L1SubgradientSettings

    def init(self, players: Players) -> State:
        return {**super().init(players), "charging": self.settings.warmup == 0}

    def penalise(self, players: Players, state: State, sums: Arithmetic, grads: Sequence[Tensor]) -> None:
        if not state["charging"]:
            return
        norm = sums.sq_norm().sqrt_()
        per_length = (norm > 0) * (self.settings.price / norm.clamp_min(1e-30))
        for grad, direction in zip(grads, sums.gates.tangent(sums.theta, per_length.to(norm.dtype))):
            grad.add_(direction)

    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        state["charging"] = pulse.step + 1 >= self.settings.warmup
        return pulse.s

    def priority(self, players: Players, state: State, s: Participation) -> PerPlayer:
        return players.gates.sq_norm([p.detach() for p in players.gates.parameters]).sqrt_()
