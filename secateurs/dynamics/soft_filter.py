"""Soft filter pruning: small filters are set to zero and go on being trained (He et al. 2018).

Every so often the filters of each layer with the smallest norms are zeroed, the same share of every layer. They stay
in the network, receive dense gradients, and may have grown past others when the next look comes. The cut comes once, at
the end, and takes those that were zeroed last.

It is the filters that are zeroed, the weights that produce a channel; what follows them (a bias, BatchNorm's γ and β)
stays, or no gradient could pass a rectifier behind it.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ..partition import Players, producers
from ..selection import fit_budget, within_layers
from ..shapes import Participation, PerPlayer
from .base import Pulse, State
from .budgeted import Budgeted, Timing


class SoftFilterSettings(Timing):
    """When filters are set to zero.

    Attributes:
        every: optimizer steps between two times; about an epoch. None: a twentieth of the horizon.
    """

    every: int | None = Field(default=None, ge=1)

    @property
    def period(self) -> int:
        """Steps between two times."""
        return self.every if self.every is not None else max(1, round(self.horizon / 20))


class SoftFilter(Budgeted):
    """The smallest filters of each layer are zeroed again and again, and cut at the end."""

    name: ClassVar[str] = "soft-filter"
    summary: ClassVar[str] = "the smallest filters of each layer are zeroed every epoch and may grow again"
    source: ClassVar[str] = "He et al. 2018 (SFP)"
    Settings: ClassVar[type[Timing]] = SoftFilterSettings
    span: ClassVar[tuple[float, float]] = (0.0, 0.7)
    continues: ClassVar[bool] = True
    decays = True
    settings: SoftFilterSettings

    def init(self, players: Players) -> State:
        return {**super().init(players), "norm": self.begin(players, {})}

    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        since = pulse.step + 1 - self.settings.warmup
        if since <= 0 or (since % self.settings.period and since != self.settings.horizon):
            return pulse.s
        filters = producers(players)
        gated = {id(p): theta for p, theta in zip(players.gates.parameters, pulse.sums.theta)}
        held = [gated.get(id(p), p.data) for p in filters.parameters]
        state["norm"] = filters.sq_norm(held).sqrt_().to(pulse.s.dtype)
        keep = fit_budget(players, self.priority(players, state, pulse.s), self.targets)
        filters.scaled(held, keep.to(pulse.s.dtype), out=held)
        return pulse.s

    def priority(self, players: Players, state: State, s: Participation) -> PerPlayer:
        """The rank in its own layer, by the norm before it was last set to zero."""
        return within_layers(players, state["norm"])
