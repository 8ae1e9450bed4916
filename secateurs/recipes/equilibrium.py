"""Equilibrium pruning in a user's own loop: two lines around it.

players = secateurs.players(model, example_inputs, granularity="channel")
optimizer = secateurs.Equilibrium(players, budget=Budget(macs=0.30)).wrap(optimizer)
...                                   # the loop, unchanged
small = optimizer.harvest()           # certificate + smaller nn.Module
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

from torch import nn
from torch.optim import Optimizer

from ..dynamics import Dynamics, FixedPrices, Market, MarketSettings, Participating, Utility
from ..dynamics.base import Gauge
from ..dynamics.participation import Updates
from ..errors import BudgetError
from ..partition import Players, find_scale_free
from ..shapes import Mask, Participation
from ..spec import Budget
from ..structure import shrink
from .latency import Clock, one_example, price, tighten


class Equilibrium:
    """The game, ready to be wrapped around an optimizer.

    With a ``budget`` the price of participation clears a market at the budget; without one the utility's own prices
    stand, as in the paper.

    Args:
        players: from :func:`secateurs.players`.
        budget: groups, params, macs, bytes or latency; several may be given, all hold. Latency is that of one example
            on this device, one thread: its operators are timed now, and the network that is harvested is timed as
            well. None plays at fixed prices.
        market: warm-up, horizon and rent of the market. The defaults suit a run of a few thousand steps; set
            ``MarketSettings(warmup=…, horizon=…)`` to about 10% and 50% of yours.
        utility: α, β, γ, η and the benefit's sign, for play at fixed prices.
        rate: η_s at fixed prices.
        gauge: 'norm' (default) projects every player's norm to at most its initial value after each step, 'none'
            leaves it. At fixed prices the default is 'none', as printed.
        updates: 'simultaneous' or 'alternating'.
        measured: False leaves timing to whoever cuts, where the players know what milliseconds cost already.
    Raises:
        BudgetError: the budget cannot be reached, or both a budget and a utility are given.
    """

    def __init__(
        self,
        players: Players,
        budget: Budget | None = None,
        *,
        market: MarketSettings | None = None,
        utility: Utility | None = None,
        rate: float = 1e-3,
        gauge: Gauge | None = None,
        updates: Updates = "simultaneous",
        measured: bool = True,
    ) -> None:
        if budget is not None and utility is not None:
            raise BudgetError("give a budget (the market sets the price) or a utility (fixed prices), not both")
        self.players = players
        self.updates: Updates = updates
        self.dynamics: Dynamics
        self.select: Callable[..., Mask] | None = None
        if budget is not None:
            clock = _clock(players, budget.latency) if budget.latency is not None and measured else None
            self.dynamics = Market(budget, market or MarketSettings())
            self.gauge: Gauge = gauge or "norm"
            if clock is not None:
                self.select = partial(_within_milliseconds, self.dynamics, clock)
        else:
            self.dynamics = FixedPrices(utility or Utility(gamma=0.05, beta=0.05), rate)
            self.gauge = gauge or "none"

    def wrap(self, optimizer: Optimizer) -> Participating:
        """The same optimizer, whose steps also play the game.

        Args:
            optimizer: any torch optimizer over the players' model. Wrap before making a scheduler, or after: both work.
        """
        return Participating(
            optimizer,
            self.players,
            self.dynamics,
            gauge=self.gauge,
            scale_free=find_scale_free(self.players) if self.dynamics.free_scales else None,
            updates=self.updates,
            select=self.select,
        )


def _clock(players: Players, limit_ms: float) -> Clock:
    """Time the network's operators, and keep a copy of it to time cuts beside."""
    one = one_example(players.example_inputs)
    taken = price(players, limit_ms, one)
    return Clock(limit_ms, one, copy.deepcopy(players.model), taken["whole_ms"][0])


def _within_milliseconds(market: Market, clock: Clock, players: Players, state: dict, s: Participation) -> Mask:
    """The exact cut whose network was timed and takes as long as was asked for."""

    def build() -> nn.Module:
        mask = players.atom_mask(market.keep(players, state, s))
        return shrink(players.model, players.structure, mask, check=False).model

    tighten(market.targets, build, clock)
    return market.keep(players, state, s)
