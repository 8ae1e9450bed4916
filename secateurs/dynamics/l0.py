"""Hard concrete gates: a differentiable draw, and a price on how many are open (Louizos, Welling & Kingma 2018).

With noise u ~ U(0,1), β = 2/3, γ = −0.1, ζ = 1.1 the gate of a forward pass is

    y = σ((log u − log(1−u) + a)/β),   z = clip(y·(ζ−γ) + γ, 0, 1)                           (10), (11)
    P(z ≠ 0) = σ(a − β·log(−γ/ζ))                                                            (12)

and the location a = log α follows ∂L/∂z·∂z/∂a + λ·∂E[amount]/∂a. Participation is the draw of the *next* forward: the
model's weights hold z·θ when it comes, and ∂L/∂z is the slope that it leaves behind. Slopes are divided by their
running root mean square, so that λ and the rate have no unit.

λ is given, or it is the price at which the expected amounts follow the path to the budget.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..maths import clear
from ..partition import Players
from ..shapes import Participation, PerPlayer
from .base import EPSILON, Pulse, State, draws
from .budgeted import Budgeted, Closing, Timing, ahead

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
SHIFT = BETA * math.log(-GAMMA / ZETA)
FURTHEST = 8.0  # |log α| at most: P(z ≠ 0) is then 0.2% or 99.99%, and a gate can still turn
TOLERANCE = 1e-4  # of the dense amount: how closely the expected amount meets the path


def gate(a: PerPlayer, u: PerPlayer) -> tuple[Participation, PerPlayer]:
    """z and ∂z/∂a at noise ``u``, eq. (10), (11)."""
    y = torch.sigmoid((torch.logit(u) + a) / BETA)
    stretched = y * (ZETA - GAMMA) + GAMMA
    inside = (stretched > 0) & (stretched < 1)
    return stretched.clamp(0, 1), y * (1 - y) * inside * ((ZETA - GAMMA) / BETA)


def open_probability(a: PerPlayer) -> PerPlayer:
    """P(z ≠ 0), eq. (12)."""
    return torch.sigmoid(a - SHIFT)


def expected_gate(a: PerPlayer) -> Participation:
    """The gate without noise, clip(σ(a)·(ζ−γ) + γ, 0, 1): eq. (13)."""
    return (torch.sigmoid(a) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


class L0Settings(Closing):
    """How gates move.

    Attributes:
        price: λ. None: the price that clears on the way to the budget.
        rate: of log α; None chooses ``travel / horizon``.
        travel: how far log α could move within the horizon at slopes of average size.
        damping: of the slopes' running mean square.
        start: log α before the first step; 2 is open with probability 97%.
        seed: of the noise.
    """

    price: float | None = Field(default=None, ge=0)
    rate: float | None = Field(default=None, gt=0)
    travel: float = Field(default=50.0, gt=0)
    damping: float = Field(default=0.9, ge=0, lt=1)
    start: float = Field(default=2.0, ge=-FURTHEST, le=FURTHEST)
    seed: int = 0

    @property
    def eta(self) -> float:
        """The rate of log α."""
        return self.rate if self.rate is not None else self.travel / self.horizon


class L0(Budgeted):
    """Hard concrete gates on the players."""

    name: ClassVar[str] = "l0"
    summary: ClassVar[str] = "gates are drawn at every step, and what they are expected to keep follows the budget"
    source: ClassVar[str] = "Louizos, Welling & Kingma 2018"
    Settings: ClassVar[type[Timing]] = L0Settings
    span: ClassVar[tuple[float, float]] = (0.1, 0.6)
    uses_sums = False
    gauge = "norm"
    settings: L0Settings

    def init(self, players: Players) -> State:
        a = torch.full((players.count,), self.settings.start, dtype=players.dtype, device=players.device)
        return {
            **super().init(players),
            "log_alpha": a,
            "noise": self._noise(players, 0),
            "benefit": torch.zeros_like(a),
            "square": 0.0,
            "seen": 0,
            "price": self.settings.price or 0.0,
        }

    def _noise(self, players: Players, step: int) -> Tensor:
        u = torch.rand(players.count, generator=draws(self.settings.seed, "l0", step), dtype=torch.float64)
        return u.clamp_(1e-6, 1 - 1e-6).to(players.device, players.dtype)

    def begin(self, players: Players, state: State) -> Participation:
        return gate(state["log_alpha"], state["noise"])[0]

    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        descent = self._slope(state, pulse.slope)
        a = state["log_alpha"] - self.settings.eta * descent
        if pulse.step >= self.settings.warmup:
            charge = self.settings.eta * self._charge(players, state)
            if self.settings.price is None:
                state["price"] = self._price(players, state["price"], a, charge, pulse.step)
            a = a - state["price"] * charge
        state["log_alpha"] = a.clamp(-FURTHEST, FURTHEST)
        state["noise"] = self._noise(players, pulse.step + 1)
        return gate(state["log_alpha"], state["noise"])[0]

    def _slope(self, state: State, slope: PerPlayer) -> PerPlayer:
        """∂L/∂a in units of the slopes' running root mean square."""
        damping = self.settings.damping
        state["seen"] += 1
        state["square"] = damping * state["square"] + (1 - damping) * float(slope.square().mean())
        unit = math.sqrt(state["square"] / (1 - damping ** state["seen"])) + 1e-30
        state["benefit"] = damping * state["benefit"] - (1 - damping) * slope / unit
        return slope * gate(state["log_alpha"], state["noise"])[1] / unit

    def _charge(self, players: Players, state: State) -> PerPlayer:
        """∂E/∂a of the budgeted amounts together, each in units of its dense amount per player.

        An amount is taken at the expected widths of the layers; a layer at its minimum is charged nothing.
        """
        p = open_probability(state["log_alpha"])
        mass = players.mass(p)
        each = np.zeros_like(mass)
        for name in self.targets:
            each += players.resource(name).marginal(mass) * (players.count / self.dense[name])
        each[(mass <= players.minimum) & (players.minimum > 0)] = 0.0
        return torch.from_numpy(players.spread(each)).to(p) * (p * (1 - p))

    def _price(self, players: Players, guess: float, a: PerPlayer, charge: PerPlayer, step: int) -> float:
        """The smallest λ at which every expected amount is on the path or below."""
        path = self.amounts(self.settings.closed(step))

        def excess(price: float) -> float:
            mass = players.mass(open_probability((a - price * charge).clamp_(-FURTHEST, FURTHEST)))
            return max((players.resource(n).amount(mass) - path[n]) / self.dense[n] for n in path)

        price = clear(excess, guess, tolerance=TOLERANCE)
        charged = charge > 0
        # Beyond what shuts everyone a price changes nothing, and would grow without end.
        ceiling = float(((a[charged] + FURTHEST) / charge[charged]).max()) if bool(charged.any()) else 0.0
        return min(price, max(ceiling, 0.0))

    def final(self, players: Players, state: State, s: Participation) -> Participation:
        """The gate without noise. Whoever the budget has room for though its gate is shut starts again from ε: no
        gradient would reach it at zero."""
        return expected_gate(state["log_alpha"]).clamp_min(EPSILON)

    def priority(self, players: Players, state: State, s: Participation) -> PerPlayer:
        """log α, ties by the damped benefit −∂L/∂s: gates that are as far shut as they go are many."""
        benefit = state["benefit"] - state["benefit"].min()
        return ahead(state["log_alpha"], benefit)
