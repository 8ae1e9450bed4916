"""Sparse from the first step: some connections are dropped, as many are grown, and the budget holds all the while.

At every update a layer that has n players in the network loses the ⌊f·n⌋ with the smallest ‖θ_g‖, and gets as many of
those that are not in it then; who has just been dropped may be among them, and has lost nothing. A new weight starts at
zero, with nothing remembered of it by the optimizer. A whole group starts with the weights it had when it left: at zero
no gradient would pass the rectifier behind it, and it would never move.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

import torch
from pydantic import AfterValidator, Field

from ..errors import RunError, unknown
from ..partition import Players
from ..selection import ALLOCATIONS, fit_budget, top_k
from ..shapes import Mask, Participation, PerPlayer
from .base import Pulse, State, draws
from .budgeted import Budgeted, Timing, ahead


def _known(given: str) -> str:
    if given not in ALLOCATIONS:
        raise unknown("allocation", given, ALLOCATIONS)
    return given


class RewiringSettings(Timing):
    """When and how much is rewired.

    Attributes:
        warmup: optimizer steps before the first update; the network is sparse by then.
        horizon: optimizer steps from then until the last.
        every: optimizer steps between two updates; by default a hundredth of the horizon.
        fraction: the share of a layer's connections that an update exchanges; in RigL the first one, and it falls to 0
            as a cosine.
        allocation: how much of each layer is in the network at first, and so always: ``erk``, ``uniform`` or
            ``global``; where players are blocks it is always ``global``.
        seed: of what is drawn.
    """

    warmup: int = Field(default=0, ge=0)
    every: int | None = Field(default=None, ge=1)
    fraction: float = Field(default=0.3, gt=0, le=1)
    allocation: Annotated[str, AfterValidator(_known)] = "erk"
    seed: int = 0

    @property
    def period(self) -> int:
        """Steps between two updates."""
        return self.every if self.every is not None else max(1, round(self.horizon / 100))


class Rewiring(Budgeted):
    """Base of the rules that keep a layer's number of connections and change which they are."""

    Settings: ClassVar[type[Timing]] = RewiringSettings
    span: ClassVar[tuple[float, float]] = (0.0, 0.75)
    continues: ClassVar[bool] = True
    decays = True
    settings: Any

    @abstractmethod
    def fraction(self, step: int) -> float:
        """f: the share of a layer's players that an update drops."""

    @abstractmethod
    def growth(self, players: Players, pulse: Pulse, draw: PerPlayer) -> PerPlayer:
        """Who is grown rather than whom, ``(players,)``, higher first; ``draw`` is uniform noise."""

    def init(self, players: Players) -> State:
        """Raises: RunError where no update would come before the last step."""
        if self.settings.period > self.settings.horizon:
            raise RunError(
                f"every={self.settings.every}: {self.name} would never rewire within {self.settings.horizon} steps; "
                "give every= a smaller number"
            )
        return {**super().init(players), "norm": torch.ones(players.count, dtype=players.dtype, device=players.device)}

    def begin(self, players: Players, state: State) -> Participation:
        """A random mask that meets the budget, its layers as dense as the allocation says."""
        allocation = "global" if players.granularity == "block" else self.settings.allocation
        priority = ALLOCATIONS[allocation](players, self._draw(players, "begin"))
        return fit_budget(players, priority, self.targets).to(players.dtype)

    def updates(self, step: int) -> bool:
        """Whether connections change after this step."""
        since = step + 1 - self.settings.warmup
        return 0 < since <= self.settings.horizon and since % self.settings.period == 0

    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        if not self.updates(pulse.step):
            return pulse.s
        live = pulse.s > 0
        state["norm"] = pulse.sums.sq_norm().sqrt_().to(pulse.s.dtype)
        worth = self.growth(players, pulse, self._draw(players, pulse.step))
        stays, grown = self.rewired(players, live, state["norm"], worth, self.fraction(pulse.step))
        if players.granularity == "weight":
            pulse.fresh = grown & ~live
            pulse.sums.scale((~pulse.fresh).to(pulse.s.dtype))
            state["norm"] = state["norm"].masked_fill(pulse.fresh, 0.0)
        return (stays | grown).to(pulse.s.dtype)

    def rewired(
        self, players: Players, live: Mask, norm: PerPlayer, worth: PerPlayer, fraction: float
    ) -> tuple[Mask, Mask]:
        """Who stays and who is grown, layer by layer; ties by index."""
        stays, grown = torch.zeros_like(live), torch.zeros_like(live)
        for layer in players.layers:
            span = slice(layer.start, layer.stop)
            here = live[span]
            count = int(here.sum())
            dropped = int(fraction * count + 1e-9)
            stays[span] = top_k(norm[span].masked_fill(~here, -torch.inf), count - dropped)
            grown[span] = top_k(worth[span].masked_fill(stays[span], -torch.inf), dropped)
        return stays, grown

    def _draw(self, players: Players, when: str | int) -> PerPlayer:
        noise = torch.rand(players.count, generator=draws(self.settings.seed, self.name, when), dtype=torch.float64)
        return noise.to(players.device)

    def priority(self, players: Players, state: State, s: Participation) -> PerPlayer:
        return ahead(s, state["norm"])

    def unfinished(self, steps: int) -> str | None:
        needed = self.settings.warmup + self.settings.horizon
        if steps >= needed:
            return None
        return (
            f"{self.name} goes on rewiring until optimizer step {needed}, and this is step {steps}. Train on, or give "
            "settings with a horizon= that fits your loop"
        )
