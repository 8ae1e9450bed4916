"""Gradual magnitude pruning: the mask closes along a cubic while the network trains (Zhu & Gupta 2017).

Every ``every`` steps the players with the smallest norms leave, so that the density is

    d(t) = d_f + (1 − d_f)·(1 − t)³,    t from 0 to 1 over the horizon.

No gradient reaches a masked weight, but it keeps its value (less what the optimizer's weight decay takes from it): it
comes back if others shrink below it.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ..partition import Players
from ..shapes import Participation, PerPlayer
from .base import Pulse, State
from .budgeted import Budgeted, Closing, Timing, ahead


class GradualSettings(Closing):
    """When the mask closes.

    Attributes:
        every: optimizer steps between two masks.
    """

    every: int = Field(default=50, ge=1)


class Gradual(Budgeted):
    """Mask of the largest ‖θ_g‖, closing along the cubic."""

    name: ClassVar[str] = "gradual"
    summary: ClassVar[str] = "the mask of the largest weights closes along a cubic during training"
    source: ClassVar[str] = "Zhu & Gupta 2017"
    Settings: ClassVar[type[Timing]] = GradualSettings
    span: ClassVar[tuple[float, float]] = (0.1, 0.7)
    continues: ClassVar[bool] = True
    decays = True
    settings: GradualSettings

    def init(self, players: Players) -> State:
        return {**super().init(players), "norm": self.begin(players, {})}

    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        last = pulse.step + 1 == self.settings.warmup + self.settings.horizon
        if pulse.step < self.settings.warmup or (pulse.step % self.settings.every and not last):
            return pulse.s
        state["norm"] = pulse.sums.sq_norm().sqrt()
        return self.partway(players, state["norm"], self.settings.closed(pulse.step))

    def priority(self, players: Players, state: State, s: Participation) -> PerPlayer:
        return ahead(s, state["norm"])
