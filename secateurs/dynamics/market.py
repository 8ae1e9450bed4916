"""The market: the price of participation clears at the budget, exactly, at every step.

The machinery is that of :mod:`secateurs.dynamics.pricing`, from full participation on. Demand counts a participation as

    φ(s) = log(1+s/κ)/log(1+1/κ)   (concave rent, κ = 0.1)   or   φ(s) = s   (linear),

and c_r = ∂R_r/∂s, divided by the layer's fair share, is the marginal rent. The concave form makes the last units of
participation the dearest, so decisions become nearly binary and the cut hurts little; the linear one leaves
participations in between.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..maths import L1, Log, Penalty
from ..partition import Players
from ..records import Certificate
from ..shapes import Mask, Participation, PerPlayer
from ..spec import Budget
from .base import Arithmetic, Pulse, State
from .budgeted import Timing
from .certificate import certify_market
from .pricing import SNAP, Priced, PricedSettings, host

LONGEST = 0.1  # of η_s: where a market has few steps, longer ones follow the batch's noise, and whole layers leave


class MarketSettings(PricedSettings):
    """How the market runs.

    Attributes:
        warmup: optimizer steps before it opens; everyone participates fully.
        horizon: optimizer steps from its opening until the path reaches the budget.
        rent: 'concave' or 'linear'.
        knee: κ of the concave rent.
        damping, power, normalised: see :class:`PricedSettings`.
        rate: η_s; None chooses ``travel / horizon``, at most 0.1.
        travel: how many times a player of average benefit could cross [0, 1] within the horizon.
        proportion: 1 charges a layer's players for their share of their layer, 0 for what they use; see
            :meth:`Market.fair_share`.
    """

    rent: Literal["concave", "linear"] = "concave"
    knee: float = Field(default=0.1, gt=0)
    proportion: float = Field(default=1.0, ge=0, le=2)

    @property
    def eta(self) -> float:
        """η_s."""
        return self.rate if self.rate is not None else min(super().eta, LONGEST)

    @property
    def penalty(self) -> Penalty:
        """φ."""
        return L1() if self.rent == "linear" else Log(self.knee)


class Market(Priced):
    """Participation under a budget.

    Args:
        budget: see :class:`Budgeted`. settings: see :class:`MarketSettings`.
    """

    Settings: ClassVar[type[Timing]] = MarketSettings
    settings: MarketSettings
    gauge = "norm"
    free_scales = True

    def __init__(self, budget: Budget, settings: MarketSettings | None = None, **given: Any) -> None:
        settings = settings or MarketSettings(**given)
        super().__init__(budget, settings.penalty, settings)

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
        self._listen(state, host(pulse.slope), players.count)
        for name in self.targets:
            state[f"path.{name}"] = self.path(name, pulse.step)
        if pulse.step < self.settings.warmup:
            return pulse.s
        s = host(pulse.s)
        wish = s + self.settings.eta * host(state["benefit"])
        out = self._cleared(players, state, s, wish)
        out[out < SNAP] = 0.0
        return torch.from_numpy(out).to(pulse.s)

    def utility_of(self, players: Players, state: State, s: Participation) -> tuple[Tensor, Tensor]:
        """(benefit, price paid at full participation) per player, at the current prices.

        In the market's game a player gains b_g·s and pays Σ_r γ_r·(amount it uses / share), which is concave in s: its
        best response is therefore 0 or 1, whichever side of b_g = Σ_r γ_r·r_g it stands on.
        """
        mass = players.mass(self.rent.amount(host(s)))
        paid = np.zeros(players.count)
        for name in self.targets:
            marginal = players.resource(name).marginal(mass) * (self.population / self.dense[name])
            paid += state[f"price.{name}"] * players.spread(marginal) / host(state[f"share.{name}"])
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
