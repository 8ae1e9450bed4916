"""Dynamics that end at a budget: where the way there leads through, and who stays at its end."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from ..errors import BudgetError
from ..partition import Players
from ..selection import fit_budget
from ..shapes import Mask, Participation, PerPlayer
from ..spec import Budget, Frozen
from .base import Dynamics, State


class Timing(Frozen):
    """When participation moves.

    Attributes:
        warmup: optimizer steps before it begins; everyone participates fully.
        horizon: optimizer steps from then until the budget is reached.
    """

    warmup: int = Field(default=200, ge=0)
    horizon: int = Field(default=2000, ge=1)

    def progress(self, step: int) -> float:
        """How far on the way ``step`` optimizer steps have led, 0 to 1."""
        return min(1.0, max(0.0, (step + 1 - self.warmup) / self.horizon))


class Closing(Timing):
    """When a mask closes.

    Attributes:
        power: exponent of the path to the budget; 3 is the cubic.
    """

    power: float = Field(default=3.0, gt=0)

    def closed(self, step: int) -> float:
        """1 − (1 − t)^power, the share of the way to the budget after ``step`` steps (Zhu & Gupta 2017)."""
        return 1 - (1 - self.progress(step)) ** self.power


def ahead(s: Participation, worth: PerPlayer) -> PerPlayer:
    """A priority: participation first, worth (≥ 0) where participations differ by less than 1e-6."""
    worth = worth.double()
    return s.double() + 1e-6 * worth / worth.max().clamp_min(1e-30)


class Budgeted(Dynamics):
    """Participation on the way to a budget.

    Args:
        budget: resources and amounts; ``latency`` is one once the players know it
            (:meth:`secateurs.partition.Players.add_resource`).
        settings: or single ones by name, as ``Settings`` lists them.
    """

    Settings: ClassVar[type[Timing]] = Timing
    span: ClassVar[tuple[float, float]] = (0.1, 0.5)  # of a run: when the way begins, and when it ends with the cut

    settings: Any

    def __init__(self, budget: Budget, settings: Timing | None = None, **given: Any) -> None:
        self.budget = budget
        self.settings = settings or self.Settings(**given)
        self.targets: dict[str, float] = {}
        self.dense: dict[str, float] = {}

    def init(self, players: Players) -> State:
        """Fixes the absolute targets and checks that they can be reached.

        Raises:
            BudgetError: they cannot.
        """
        names = list(self.budget.given)
        if "latency" in names and "latency" not in players.structure.terms:
            raise BudgetError(f"budget {self.budget}: nobody has measured yet what the layers take on this device")
        self.dense = {name: players.amount(name) for name in names}
        self.targets = players.targets(self.budget)
        return {}

    def amounts(self, done: float) -> dict[str, float]:
        """The budgets a share ``done`` of the way from the dense amounts to the targets."""
        return {n: self.dense[n] + (t - self.dense[n]) * done for n, t in self.targets.items()}

    def priority(self, players: Players, state: State, s: Participation) -> PerPlayer:
        """Who stays rather than whom, ``(players,)``, higher = keep."""
        return s

    def keep(self, players: Players, state: State, s: Participation) -> Mask:
        """The highest priorities that the budget has room for."""
        return fit_budget(players, self.priority(players, state, s), self.targets)

    def partway(self, players: Players, priority: PerPlayer, done: float) -> Participation:
        """1 for the highest priorities that fit the budget ``done`` of the way, 0 for the others.

        Layers cannot be narrower than their minimum, or than the budget asks: every amount on the way is reachable.
        """
        if done <= 0:
            return torch.ones(players.count, dtype=players.dtype, device=players.device)
        return fit_budget(players, priority, self.amounts(done)).to(players.dtype)

    def unfinished(self, steps: int) -> str | None:
        needed = self.settings.warmup + self.settings.horizon
        if steps >= needed:
            return None
        way = f"{self.settings.warmup} of warm-up and a horizon of {self.settings.horizon}"
        return (
            f"{self.name or type(self).__name__} reaches its budget after {needed} optimizer steps ({way}), and this "
            f"is step {steps}. Train on, or give settings with a warmup= and a horizon= that fit your loop"
        )
