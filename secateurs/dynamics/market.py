"""The market: the price of participation clears at the budget, exactly, at every step.

Each player's benefit b_g is a damped average of −∂L/∂s_g divided by the running root mean square over all
players, so prices have no unit. A step solves

    s' = Proj_[0,1](s + η_s·(b − Σ_r γ_r·c_r)),      R_r(s') ≤ path_r(t),  γ_r ≥ 0, complementary

for the prices γ_r of the budgeted resources: each is the multiplier of a projection onto its budget. The path
descends from the dense amount to the target as a cubic. Demand R counts a participation s as

    φ(s) = log(1+s/κ)/log(1+1/κ)   (concave rent, κ = 0.1)   or   φ(s) = s   (linear),

and c_r = ∂R_r/∂s, divided by the layer's fair share, is the marginal rent. The concave form makes the last units of
participation the dearest, so decisions become nearly binary and the cut hurts little; the linear one leaves
participations in between.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..maths import clear
from ..partition import Players
from ..records import Certificate
from ..shapes import Mask, Participation, PerPlayer
from ..spec import Budget
from .base import Arithmetic, Pulse, State
from .budgeted import Budgeted, Timing
from .certificate import certify_market

TOLERANCE = 1e-6  # of the dense amount: how closely demand meets the path
SWEEPS = 40  # rounds over the prices, at most, when several budgets bind together
SNAP = 1e-4  # participations below this are set to 0: denormal floats slow a CPU several times


class MarketSettings(Timing):
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
        proportion: 1 charges a layer's players for their share of their layer, 0 for what they use; see
            :meth:`Market.fair_share`.
    """

    rent: Literal["concave", "linear"] = "concave"
    knee: float = Field(default=0.1, gt=0)
    damping: float = Field(default=0.9, ge=0, lt=1)
    rate: float | None = Field(default=None, gt=0)
    travel: float = Field(default=70.0, gt=0)
    power: float = Field(default=3.0, gt=0)
    proportion: float = Field(default=1.0, ge=0, le=2)

    @property
    def eta(self) -> float:
        """η_s."""
        return self.rate if self.rate is not None else self.travel / self.horizon


class Rent:
    """φ and φ': how a participation counts towards demand."""

    def __init__(self, settings: MarketSettings) -> None:
        self.linear = settings.rent == "linear"
        self.knee = settings.knee
        self.scale = 1.0 / math.log1p(1.0 / settings.knee)

    def amount(self, s: np.ndarray) -> np.ndarray:
        """φ(s): 0 at 0, 1 at 1."""
        return s if self.linear else np.log1p(s / self.knee) * self.scale

    def slope(self, s: np.ndarray) -> np.ndarray:
        """φ'(s)."""
        return np.ones_like(s) if self.linear else self.scale / (s + self.knee)


class Market(Budgeted):
    """Participation under a budget.

    Args:
        budget: see :class:`Budgeted`. settings: see :class:`MarketSettings`.
    """

    Settings: ClassVar[type[Timing]] = MarketSettings
    settings: MarketSettings
    uses_sums = False
    gauge = "norm"

    def __init__(self, budget: Budget, settings: MarketSettings | None = None, **given: Any) -> None:
        super().__init__(budget, settings, **given)
        self.rent = Rent(self.settings)

    def init(self, players: Players) -> State:
        super().init(players)
        self.population = players.count
        zeros = torch.zeros(players.count, dtype=torch.float64)
        state: State = {"benefit": zeros, "square": 0.0, "seen": 0}
        for name in self.targets:
            state |= {f"price.{name}": 0.0, f"demand.{name}": self.dense[name], f"path.{name}": self.dense[name]}
            state[f"share.{name}"] = self.fair_share(players, name)
        return state

    def priority(self, players: Players, state: State, s: Participation) -> PerPlayer:
        """Participation, ties by benefit."""
        benefit = state["benefit"].detach().cpu().double()
        spread = (benefit.max() - benefit.min()).clamp_min(1e-12)
        return s.detach().cpu().double() + 1e-6 * (benefit - benefit.min()) / spread

    def path(self, name: str, step: int) -> float:
        """The amount of a resource that the market clears at after ``step`` steps."""
        left = (1.0 - self.settings.progress(step)) ** self.settings.power
        return self.targets[name] + (self.dense[name] - self.targets[name]) * left

    def unfinished(self, steps: int) -> str | None:
        needed = self.settings.warmup + self.settings.horizon
        if steps >= needed:
            return None
        asked = ", ".join(
            f"{self.path(n, steps - 1) / self.dense[n]:.0%} of {n}, and the budget is {t / self.dense[n]:.0%}"
            for n, t in self.targets.items()
        )
        return (
            f"the market reaches its budget after {needed} optimizer steps ({self.settings.warmup} of warm-up and a "
            f"horizon of {self.settings.horizon}), and this is step {steps}: its path is at {asked}. Train on, or give "
            f"MarketSettings(warmup=…, horizon=…) that fit your loop"
        )

    def fair_share(self, players: Players, name: str) -> PerPlayer:
        """By what a player's rent is divided: (what its layer uses of the resource / mean over players)^proportion.

        In a network that is homogeneous between its layers (ReLU, no biases) Σ_{g∈layer} ∂L/∂log s_g is the same for
        every layer: it is ⟨∂L/∂f, f⟩ at the output. At equal rents benefits therefore make layers equally wide,
        whatever the architecture was. Where the layers' rents add up to the same amount as well, a player stays
        if it stands above its layer's average, and layers keep their proportions unless players differ. The step
        then projects onto the budget in the metric Σ_g share_g·(s'_g − s_g)².
        """
        sizes = players.sizes
        layers = players.resource(name).marginal(np.asarray(sizes, dtype=float)) * sizes
        per_player = players.spread(layers)
        share = (per_player / per_player.mean()) ** self.settings.proportion
        # What uses none of the resource pays none: MACs are those of evaluation, and a head for training has no part.
        return torch.from_numpy(np.where(per_player > 0, share, 1.0))

    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        self._listen(state, _host(pulse.slope))
        for name in self.targets:
            state[f"path.{name}"] = self.path(name, pulse.step)
        if pulse.step < self.settings.warmup:
            return pulse.s
        s = _host(pulse.s)
        wish = s + self.settings.eta * _host(state["benefit"])
        out = self._cleared(players, state, s, wish)
        out[out < SNAP] = 0.0
        return torch.from_numpy(out).to(pulse.s)

    def _listen(self, state: State, slope: np.ndarray) -> None:
        """Damped benefit in units of its running root mean square over all players."""
        damping = self.settings.damping
        raw = -slope
        state["seen"] += 1
        state["square"] = damping * state["square"] + (1 - damping) * float(raw @ raw) / len(raw)
        unit = math.sqrt(state["square"] / (1 - damping ** state["seen"])) + 1e-30
        benefit = _host(state["benefit"]) * damping + raw * ((1 - damping) / unit)
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
            out[name] = slope * players.spread(marginal) / _host(state[f"share.{name}"])
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

    def utility_of(self, players: Players, state: State, s: Participation) -> tuple[Tensor, Tensor]:
        """(benefit, price paid at full participation) per player, at the current prices.

        In the market's game a player gains b_g·s and pays Σ_r γ_r·(amount it uses / share), which is concave in s: its
        best response is therefore 0 or 1, whichever side of b_g = Σ_r γ_r·r_g it stands on.
        """
        mass = players.mass(self.rent.amount(_host(s)))
        paid = np.zeros(players.count)
        for name in self.targets:
            marginal = players.resource(name).marginal(mass) * (self.population / self.dense[name])
            paid += state[f"price.{name}"] * players.spread(marginal) / _host(state[f"share.{name}"])
        return state["benefit"].clone(), torch.from_numpy(paid)

    def certify(self, players: Players, state: State, s: Participation, kept: Mask, sums: Arithmetic) -> Certificate:
        benefit, paid = self.utility_of(players, state, s)
        room = {n: (state[f"path.{n}"] - state[f"demand.{n}"]) / self.dense[n] for n in self.targets}
        # What has no price may have room to spare: several are budgeted and another binds, or players left unasked.
        error = max(max(-r, abs(r) if state[f"price.{n}"] > 0 else 0.0) for n, r in room.items())
        slack = min(room.values()) if not any(state[f"price.{n}"] > 0 for n in room) else 0.0
        host = s.detach().cpu().double()
        amount, slope = (torch.from_numpy(f(host.numpy())) for f in (self.rent.amount, self.rent.slope))
        return certify_market(players, benefit, paid, slope, amount, host, kept.cpu(), error, max(slack, 0.0))


def _host(values: Tensor) -> np.ndarray:
    """Float64 on the host. Players are few beside weights: one small transfer a step, and none of the
    back-and-forth that a search on a device would need."""
    held = values.detach().cpu().numpy()
    return held if held.dtype == np.float64 else held.astype(np.float64)
