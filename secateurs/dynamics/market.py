"""The market: the price of participation clears at the budget, exactly, at every step.

Each player's benefit b_g is a damped average of −∂L/∂s_g divided by the running root mean square over all
players, so prices have no unit. A step solves

    s' = Proj_[0,1](s + η_s·(b − Σ_r γ_r·c_r)),      R_r(s') ≤ path_r(t),  γ_r ≥ 0, complementary

for the prices γ_r of the budgeted resources: each is the multiplier of a projection onto its budget. The path
descends from the dense amount to the target as a cubic. Demand R counts a participation s as

    φ(s) = log(1+s/κ)/log(1+1/κ)   (concave rent, κ = 0.1)   or   φ(s) = s   (linear),

and c_r = ∂R_r/∂s is the marginal rent. The concave form makes the last units of participation the dearest, so
decisions become nearly binary and the cut hurts little; the linear one leaves participations in between.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..errors import BudgetError
from ..maths import clear
from ..partition import Players, Resource
from ..records import Certificate
from ..shapes import Mask, Participation, PerPlayer
from ..spec import Budget, Frozen
from .base import Arithmetic, Dynamics, Pulse, State
from .certificate import certify_market

SNAP = 1e-4  # participations below this are set to 0: denormal floats slow a CPU several times


class MarketSettings(Frozen):
    """How the market runs.

    Attributes:
        warmup: optimizer steps before it opens; everyone participates fully.
        horizon: optimizer steps from its opening until the path reaches the budget.
        rent: 'concave' or 'linear'.
        knee: κ of the concave rent.
        damping: of the benefit's moving average.
        rate: η_s; None chooses ``travel / horizon``.
        travel: how many times a player of average benefit could cross [0, 1] within the horizon.
        power: exponent of the path's descent.
        proportion: 1 measures a player against its layer's fair share, 0 against all players alike; see
            :meth:`Market.fair_share`.
    """

    warmup: int = Field(default=200, ge=0)
    horizon: int = Field(default=2000, ge=1)
    rent: Literal["concave", "linear"] = "concave"
    knee: float = Field(default=0.1, gt=0)
    damping: float = Field(default=0.9, ge=0, lt=1)
    rate: float | None = Field(default=None, gt=0)
    travel: float = Field(default=70.0, gt=0)
    power: float = Field(default=3.0, gt=0)
    proportion: float = Field(default=1.0, ge=0, le=1)

    @property
    def eta(self) -> float:
        """η_s."""
        return self.rate if self.rate is not None else self.travel / self.horizon

    def progress(self, step: int) -> float:
        """How far along the path the market is after ``step`` optimizer steps, 0 to 1."""
        return min(1.0, max(0.0, (step + 1 - self.warmup) / self.horizon))


class Rent:
    """φ and φ': how a participation counts towards demand."""

    def __init__(self, settings: MarketSettings) -> None:
        self.linear = settings.rent == "linear"
        self.knee = settings.knee
        self.scale = 1.0 / math.log1p(1.0 / settings.knee)

    def amount(self, s: Tensor) -> Tensor:
        """φ(s): 0 at 0, 1 at 1."""
        return s if self.linear else torch.log1p(s / self.knee).mul_(self.scale)

    def slope(self, s: Tensor) -> Tensor:
        """φ'(s)."""
        return torch.ones_like(s) if self.linear else self.scale / (s + self.knee)


class Market(Dynamics):
    """Participation under a budget.

    Args:
        budget: resources and amounts; ``latency`` has no rent of its own and is not accepted here.
        settings: see :class:`MarketSettings`.
    """

    def __init__(self, budget: Budget, settings: MarketSettings) -> None:
        if budget.latency is not None:
            raise BudgetError("a market trades groups, params, macs or bytes; convert latency to one of them first")
        self.budget = budget
        self.settings = settings
        self.rent = Rent(settings)
        self.targets: dict[str, float] = {}
        self.dense: dict[str, float] = {}

    def init(self, players: Players) -> State:
        """Also fixes the absolute targets and checks that they can be reached."""
        names = list(self.budget.given)
        self.dense = {name: players.amount(name) for name in names}
        self.targets = self.budget.targets(self.dense)
        least = players.minimum.double()
        for name, target in self.targets.items():
            floor = players.resource(name).amount(least)
            if target < floor * (1 - 1e-9):
                raise BudgetError(
                    f"budget {name}={self.budget.given[name]:g} is {target:,.0f} {name}; the smallest reachable here is "
                    f"{floor:,.0f} ({floor / self.dense[name]:.4f} of dense), with every layer at its minimum width"
                )
        self.sizes = [layer.size for layer in players.layers]
        self.population = players.count
        zeros = torch.zeros(players.count, device=players.device)
        state: State = {"benefit": zeros, "share": self.fair_share(players), "square": 0.0, "seen": 0}
        for name in names:
            state |= {f"price.{name}": 0.0, f"demand.{name}": self.dense[name], f"path.{name}": self.dense[name]}
        return state

    def path(self, name: str, step: int) -> float:
        """The amount of a resource that the market clears at after ``step`` steps."""
        left = (1.0 - self.settings.progress(step)) ** self.settings.power
        return self.targets[name] + (self.dense[name] - self.targets[name]) * left

    def fair_share(self, players: Players) -> PerPlayer:
        """Factor on each player's benefit: (players in its layer / mean over players)^proportion.

        In a network that is homogeneous between its layers (ReLU, no biases) Σ_{g∈layer} ∂L/∂log s_g is the same for
        every layer: it is ⟨∂L/∂f, f⟩ at the output. Compared as they are, benefits therefore make layers equally
        wide, whatever the architecture was. Multiplied by the number of players that share the layer's sum, they
        say how far a player stands above its layer's average, and layers keep their proportions unless players differ.
        """
        sizes = torch.tensor([float(n) for n in self.sizes], device=players.device)[players.layer_of]
        return (sizes / sizes.mean()) ** self.settings.proportion

    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        self._listen(state, -pulse.slope * state["share"])
        for name in self.targets:
            state[f"path.{name}"] = self.path(name, pulse.step)
        if pulse.step < self.settings.warmup:
            return pulse.s
        wish = pulse.s + self.settings.eta * state["benefit"]
        s = self._cleared(players, state, pulse.s, wish)
        return torch.where(s < SNAP, torch.zeros_like(s), s)

    def _listen(self, state: State, raw: PerPlayer) -> None:
        """Damped benefit in units of its running root mean square over all players."""
        damping = self.settings.damping
        square = float(raw.square().mean())
        state["seen"] += 1
        state["square"] = damping * state["square"] + (1 - damping) * square
        unit = math.sqrt(state["square"] / (1 - damping ** state["seen"])) + 1e-30
        state["benefit"] = torch.lerp(raw / unit, state["benefit"], damping)

    def rents(self, players: Players, s: Participation) -> dict[str, PerPlayer]:
        """c_r,g = ∂R_r/∂s_g in units of the dense amount per player; nothing for a layer at its minimum."""
        mass = players.mass(self.rent.amount(s))
        open_ = (mass > players.minimum).double()
        slope = self.rent.slope(s)
        out = {}
        for name in self.targets:
            marginal = players.resource(name).marginal(mass) * open_ * (self.population / self.dense[name])
            out[name] = slope * marginal.to(s)[players.layer_of]
        return out

    def _cleared(self, players: Players, state: State, s: Participation, wish: PerPlayer) -> Participation:
        rents = self.rents(players, s)
        prices = {name: state[f"price.{name}"] for name in self.targets}
        sweeps = 1 if len(prices) == 1 else 4
        for _ in range(sweeps):
            for name in prices:
                others = wish - self.settings.eta * _total(rents, {n: p for n, p in prices.items() if n != name})
                prices[name] = self._price(players, players.resource(name), others, rents[name], state, name)
        out = torch.clamp(wish - self.settings.eta * _total(rents, prices), 0.0, 1.0)
        mass = players.mass(self.rent.amount(out))
        for name, price in prices.items():
            state[f"price.{name}"] = price
            state[f"demand.{name}"] = players.resource(name).amount(mass)
        return out

    def _price(
        self, players: Players, resource: Resource, wish: PerPlayer, rent: PerPlayer, state: State, name: str
    ) -> float:
        """The clearing price of one resource, the others' prices held."""
        supply = state[f"path.{name}"]
        step = self.settings.eta * rent

        def excess(price: float) -> float:
            after = torch.clamp(torch.sub(wish, step, alpha=price), 0.0, 1.0)
            return resource.amount(players.mass(self.rent.amount(after))) - supply

        return clear(excess, state[f"price.{name}"], tolerance=1e-6 * self.dense[name])

    def utility_of(self, players: Players, state: State, s: Participation) -> tuple[PerPlayer, PerPlayer]:
        """(benefit, price paid at full participation) per player, at the current prices.

        In the market's game a player gains b_g·s and pays Σ_r γ_r·(amount it uses), which is concave in s: its best
        response is therefore 0 or 1, whichever side of b_g = Σ_r γ_r·r_g it stands on.
        """
        mass = players.mass(self.rent.amount(s))
        paid = torch.zeros_like(s)
        for name in self.targets:
            marginal = players.resource(name).marginal(mass) * (self.population / self.dense[name])
            paid = paid + state[f"price.{name}"] * marginal.to(s)[players.layer_of]
        return state["benefit"], paid

    def certify(
        self, players: Players, state: State, s: Participation, kept: Mask, sums: Arithmetic
    ) -> Certificate:
        benefit, paid = self.utility_of(players, state, s)
        error = max(abs(state[f"demand.{n}"] - state[f"path.{n}"]) / self.dense[n] for n in self.targets)
        return certify_market(players, benefit, paid, self.rent.amount(s), s, kept, error)


def _total(rents: dict[str, PerPlayer], prices: dict[str, float]) -> PerPlayer | float:
    parts = [price * rents[name] for name, price in prices.items()]
    return torch.stack(parts).sum(0) if parts else 0.0
