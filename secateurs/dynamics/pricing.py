"""Prices: participation that meets a path of budgets exactly, at every step, by projected gradient ascent.

Each player's benefit b_g is a damped average of −∂L/∂s_g, divided by the running root mean square over all players, so
that prices and rates have no unit. A step solves

    s' = Proj_[0,1](s + η_s·(b − Σ_r γ_r·c_r)),      R_r(s') ≤ path_r(t),  γ_r ≥ 0, complementary

for the prices γ_r of the budgeted resources: each is the multiplier of a projection onto its budget. Demand R counts a
participation s as ρ(s), by one of the penalties of :mod:`secateurs.maths.penalties`, and c_r = ∂R_r/∂s. The path leads
from the demand at the opening down to the target.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..maths import Penalty, clear
from ..partition import Players
from ..shapes import Participation, PerPlayer
from ..spec import Budget
from .base import State
from .budgeted import Budgeted, Timing

TOLERANCE = 1e-6  # of the dense amount: how closely demand meets the path
SWEEPS = 40  # rounds over the prices, at most, when several budgets bind together
SNAP = 1e-4  # participations below this are set to 0: denormal floats slow a CPU several times


class PricedSettings(Timing):
    """How fast participation moves, and along which path.

    Attributes:
        damping: of the benefit's moving average.
        rate: η_s; None chooses ``travel / horizon``.
        travel: how many times a player of average benefit could cross [0, 1] within the horizon.
        power: exponent of the path's descent.
        normalised: benefits in units of their running root mean square; else bare.
    """

    damping: float = Field(default=0.9, ge=0, lt=1)
    rate: float | None = Field(default=None, gt=0)
    travel: float = Field(default=70.0, gt=0)
    power: float = Field(default=3.0, gt=0)
    normalised: bool = True

    @property
    def eta(self) -> float:
        """η_s."""
        return self.rate if self.rate is not None else self.travel / self.horizon


class Priced(Budgeted):
    """Participation whose price clears at the budget.

    Args:
        rent: ρ, how a participation counts towards demand.
    """

    Settings: ClassVar[type[Timing]] = PricedSettings
    settings: Any
    uses_sums = False

    def __init__(self, budget: Budget, rent: Penalty, settings: Timing | None = None, **given: Any) -> None:
        super().__init__(budget, settings, **given)
        self.rent = rent
        self.opening: dict[str, float] = {}

    def init(self, players: Players) -> State:
        super().init(players)
        self.population = players.count
        s = host(self.begin(players, {}))
        mass = players.mass(self.rent.amount(s))
        self.opening = {name: players.resource(name).amount(mass) for name in self.targets}
        state: State = {"benefit": torch.zeros(players.count, dtype=torch.float64), "square": 0.0, "seen": 0}
        for name, amount in self.opening.items():
            state |= {f"price.{name}": 0.0, f"demand.{name}": amount, f"path.{name}": amount}
            state[f"share.{name}"] = self.fair_share(players, name)
        return state

    def fair_share(self, players: Players, name: str) -> PerPlayer:
        """By what a player's rent is divided; here by nothing."""
        return torch.ones(players.count, dtype=torch.float64)

    def priority(self, players: Players, state: State, s: Participation) -> PerPlayer:
        """Participation, ties by benefit."""
        benefit = state["benefit"].detach().cpu().double()
        spread = (benefit.max() - benefit.min()).clamp_min(1e-12)
        return s.detach().cpu().double() + 1e-6 * (benefit - benefit.min()) / spread

    def path(self, name: str, step: int) -> float:
        """The amount of a resource that demand meets after ``step`` steps."""
        left = (1.0 - self.settings.progress(step)) ** self.settings.power
        return self.targets[name] + (self.opening[name] - self.targets[name]) * left

    def ledger(self, state: State) -> dict[str, dict[str, float]]:
        """For the record: price, demand and path of every budgeted resource, the latter two as fractions of dense."""
        out: dict[str, dict[str, float]] = {"price": {n: state[f"price.{n}"] for n in self.targets}}
        for what in ("demand", "path"):
            out[what] = {n: state[f"{what}.{n}"] / self.dense[n] for n in self.targets}
        return out

    def _listen(self, state: State, slope: np.ndarray, count: int) -> None:
        """Damped benefit, −∂L/∂s, in units of its running root mean square over ``count`` players."""
        damping = self.settings.damping
        raw = -slope
        state["seen"] += 1
        state["square"] = damping * state["square"] + (1 - damping) * float(raw @ raw) / count
        unit = math.sqrt(state["square"] / (1 - damping ** state["seen"])) + 1e-30 if self.settings.normalised else 1.0
        benefit = host(state["benefit"]) * damping + raw * ((1 - damping) / unit)
        state["benefit"] = torch.from_numpy(benefit)

    def rents(self, players: Players, state: State, s: np.ndarray) -> dict[str, np.ndarray]:
        """c_r,g: ∂R_r/∂s_g in units of the dense amount per player, over the layer's fair share; nothing for a layer at
        its minimum, unless it may lose all."""
        mass = players.mass(self.rent.amount(s))
        slope = self.rent.slope(s)
        out = {}
        for name in self.targets:
            marginal = players.resource(name).marginal(mass) * (self.population / self.dense[name])
            marginal[(mass <= players.minimum) & (players.minimum > 0)] = 0.0
            out[name] = slope * players.spread(marginal) / host(state[f"share.{name}"])
        return out

    def _cleared(self, players: Players, state: State, s: np.ndarray, wish: np.ndarray) -> np.ndarray:
        charges = {name: self.settings.eta * rent for name, rent in self.rents(players, state, s).items()}
        prices = self._prices(players, state, wish, charges)
        out, demand = self._demand(players, wish, charges, prices)
        if any(demand[n] - state[f"path.{n}"] > 2 * TOLERANCE * self.dense[n] for n in demand):
            out, demand = self._restrained(players, state, s, out, demand)
        for name, price in prices.items():
            state[f"price.{name}"] = price
            state[f"demand.{name}"] = demand[name]
        return out

    def _demand(
        self, players: Players, wish: np.ndarray, charges: dict[str, np.ndarray], prices: dict[str, float]
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Participation at some prices, and how much of every resource it demands."""
        out = np.clip(wish - sum(prices[n] * c for n, c in charges.items()), 0.0, 1.0)
        mass = players.mass(self.rent.amount(out))
        return out, {name: players.resource(name).amount(mass) for name in charges}

    def _restrained(
        self, players: Players, state: State, s: np.ndarray, out: np.ndarray, demand: dict[str, float]
    ) -> tuple[np.ndarray, dict[str, float]]:
        """No price makes room: layers at their minimum pay none, and grow. They grow as far as the budgets allow."""
        low, high = 0.0, 1.0
        best = np.minimum(out, s)
        for _ in range(24):
            middle = 0.5 * (low + high)
            trial = np.minimum(out, s + middle * (out - s))
            mass = players.mass(self.rent.amount(trial))
            if all(players.resource(n).amount(mass) <= state[f"path.{n}"] for n in demand):
                low, best = middle, trial
            else:
                high = middle
        mass = players.mass(self.rent.amount(best))
        return best, {name: players.resource(name).amount(mass) for name in demand}

    def _prices(
        self, players: Players, state: State, wish: np.ndarray, charges: dict[str, np.ndarray]
    ) -> dict[str, float]:
        """Prices at which every resource clears.

        Mostly one budget binds and the others are slack, so each is tried alone. Where several bind, each is cleared
        in turn, the others' prices held, until none moves; a last round only raises prices, so that all hold.
        """
        before = {name: state[f"price.{name}"] for name in charges}

        def cleared(name: str, prices: dict[str, float]) -> float:
            others = wish - sum(prices[n] * c for n, c in charges.items() if n != name)
            return self._price(players, others, charges[name], state, name)

        def excess(name: str, prices: dict[str, float]) -> float:
            demand = self._demand(players, wish, charges, prices)[1]
            return (demand[name] - state[f"path.{name}"]) / self.dense[name]

        for name in sorted(charges, key=lambda n: -before[n]):
            prices = dict.fromkeys(charges, 0.0)
            prices[name] = cleared(name, prices)
            if len(charges) == 1 or all(excess(n, prices) <= TOLERANCE for n in charges):
                return prices
        prices = before
        for _ in range(SWEEPS):
            old = dict(prices)
            for name in prices:
                prices[name] = cleared(name, prices)
            if all(abs(prices[n] - old[n]) <= 1e-6 * (1e-6 + old[n]) for n in prices):
                break
        for name in prices:
            if excess(name, prices) > 0:
                prices[name] = cleared(name, prices)
        return prices

    def _price(self, players: Players, wish: np.ndarray, charge: np.ndarray, state: State, name: str) -> float:
        """The clearing price of one resource, the others' prices held."""
        supply, resource = state[f"path.{name}"], players.resource(name)

        def excess(price: float) -> float:
            after = np.clip(wish - price * charge, 0.0, 1.0)
            return resource.amount(players.mass(self.rent.amount(after))) - supply

        price = clear(excess, state[f"price.{name}"], tolerance=TOLERANCE * self.dense[name])
        charged = charge > 0
        # Beyond what takes everyone's last participation a price changes nothing, and would grow without end.
        ceiling = float((wish[charged] / charge[charged]).max(initial=0.0))
        return min(price, ceiling)


def host(values: Tensor) -> np.ndarray:
    """Float64 on the host. Players are few beside weights: one small transfer a step, and none of the
    back-and-forth that a search on a device would need."""
    held = values.detach().cpu().numpy()
    return held if held.dtype == np.float64 else held.astype(np.float64)
