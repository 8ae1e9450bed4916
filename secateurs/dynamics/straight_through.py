"""Straight-through masks: the forward sees the top players, the backward pretends that it saw all.

    θ̃ = m·θ,  m = 1 for the largest θ_g or σ_g that fit the path to the budget;    ∂L/∂θ := ∂L/∂θ̃,  ∂L/∂σ := ∂L/∂s

(Bengio, Léonard & Courville 2013). With latent *weights* (Zhou et al. 2021) the mask is that of the largest ‖θ_g‖, and
masked weights go on being trained as if they were there. With latent *scores* (edge-popup: Ramanujan et al. 2020) a
number σ_g moves by σ ← σ − η·∂L/∂s, in units of the slopes' running root mean square, and the weights may stay as they
were initialised: a subnetwork is found that does well untrained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..partition import Players
from ..shapes import Participation, PerPlayer
from ..spec import Budget
from .base import Arithmetic, Pulse, State
from .budgeted import Budgeted, Closing, Timing, ahead


class StraightThroughSettings(Closing):
    """What decides the mask.

    Attributes:
        latent: 'weight' goes by ‖θ_g‖, 'score' by a number of its own that starts as ‖θ_g‖ over its layer's root mean
            square.
        rate: η of the scores; None chooses ``travel / horizon``.
        travel: how far a score of average slope could move within the horizon.
        damping: of the slopes' running mean square.
        frozen: the players' weights stay as they are and only scores move.
    """

    latent: Literal["weight", "score"] = "weight"
    rate: float | None = Field(default=None, gt=0)
    travel: float = Field(default=20.0, gt=0)
    damping: float = Field(default=0.9, ge=0, lt=1)
    frozen: bool = False

    @property
    def eta(self) -> float:
        """The rate of the scores."""
        return self.rate if self.rate is not None else self.travel / self.horizon


class StraightThrough(Budgeted):
    """The top mask in the forward, dense gradients in the backward."""

    name: ClassVar[str] = "straight-through"
    summary: ClassVar[str] = "the forward uses the largest weights or scores, all of them receive the gradient"
    source: ClassVar[str] = "Bengio et al. 2013; Zhou et al. 2021; Ramanujan et al. 2020 (scores)"
    Settings: ClassVar[type[Timing]] = StraightThroughSettings
    span: ClassVar[tuple[float, float]] = (0.1, 0.7)
    continues: ClassVar[bool] = True
    straight = True
    settings: StraightThroughSettings

    def __init__(self, budget: Budget, settings: StraightThroughSettings | None = None, **given: Any) -> None:
        super().__init__(budget, settings, **given)
        self.decays = not self.settings.frozen

    def init(self, players: Players) -> State:
        norm = players.gates.sq_norm([p.detach() for p in players.gates.parameters]).to(players.dtype)
        mass, sizes = players.mass(norm), players.sizes
        mean = torch.from_numpy(players.spread(mass / sizes)).to(norm)
        worth = (norm / mean.clamp_min(1e-30)).sqrt_() if self.settings.latent == "score" else norm.sqrt_()
        return {**super().init(players), "worth": worth, "square": 0.0, "seen": 0}

    def penalise(self, players: Players, state: State, sums: Arithmetic, grads: Sequence[Tensor]) -> None:
        if self.settings.frozen:
            torch._foreach_zero_(list(grads))

    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        if self.settings.latent == "score":
            state["worth"] = state["worth"] - self.settings.eta * self._slope(state, pulse.slope)
        else:
            state["worth"] = pulse.sums.sq_norm().sqrt_().to(pulse.s.dtype)
        return self.partway(players, state["worth"], self.settings.closed(pulse.step))

    def _slope(self, state: State, slope: PerPlayer) -> PerPlayer:
        damping = self.settings.damping
        state["seen"] += 1
        state["square"] = damping * state["square"] + (1 - damping) * float(slope.square().mean())
        return slope / (math.sqrt(state["square"] / (1 - damping ** state["seen"])) + 1e-30)

    def priority(self, players: Players, state: State, s: Participation) -> PerPlayer:
        return ahead(s, state["worth"] - state["worth"].min())
