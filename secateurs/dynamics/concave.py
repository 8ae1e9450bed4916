"""Concave masks: a relaxed mask is trained beside the weights, and a concave penalty drives it to 0 and 1
(Fracastoro, Fosson, Migliorati & Calafiore 2025).

    min over θ, m ∈ [0, 1]^d   L(m⊙θ) + λ·R(m)
    m ← Proj_[0,1](m − η_m·(∂L/∂m + λ·R'(m))),      ∂L/∂m_g = ⟨∂L/∂θ̃_g, θ_g⟩,  θ̃ = m⊙θ

from m = ½, jointly with θ; then whoever has m < α leaves. Any granularity: m belongs to a weight or to a group.

What the paper leaves open is decided here, and is ours:

* R is a sum of one of the penalties of :mod:`secateurs.maths.penalties`, by default log(1 + m/κ)/log(1 + 1/κ).
* λ is given, or solved for: at every step it is the price at which the demand Σ_g R(m_g), in units of the budgeted
  resource, meets a path that leads from what m = ½ demands down to the budget. Demand is counted by R, not by m: on
  binary masks both are the count, and R is what λ is the price of, so that λ is the multiplier of a projection.
* ∂L/∂m is damped and divided by its running root mean square over the living players, so that η_m has no unit; or it is
  taken bare.
* α is given, or is where the values of m fall apart best (:func:`secateurs.maths.otsu`); or as many stay as the budget
  has room for, by m.
* Gauge. (m/c, cθ) is the same network at a lower price. The paper has no remedy. 'norm' keeps ‖θ_g‖ to at most its
  initial value, which suits groups; a single weight could then never grow. 'none' leaves it to weight decay, which
  therefore acts on θ: of all (m/c, cθ) it makes one the cheapest.
* Frozen, the weights do not move at all, and the mask is looked for among those of an untrained network.
* A round may end early, when the mask has hardly changed over some looks in a row (You et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..maths import PENALTIES, Penalty, otsu
from ..partition import Players
from ..selection import fit_budget
from ..shapes import Mask, Participation, PerPlayer
from ..spec import Budget
from .base import Arithmetic, Gauge, Pulse, State, participants
from .budgeted import Timing
from .pricing import SNAP, Priced, PricedSettings, host


class ConcaveSettings(PricedSettings):
    """How the mask moves.

    Attributes:
        regulariser: 'log', 'l1', 'mcp', 'scad' or 'lp'. knee: κ of log; None: as the penalty has it.
        lam: λ. None: the price at which demand meets the budget.
        m0: where every mask begins.
        choice: 'percentage' keeps as many as the budget has room for, 'threshold' those with m ≥ α, however many.
        alpha: α. None: where the mask's values fall apart best.
        damping, rate, travel, power, normalised: see :class:`PricedSettings`.
        gauge: 'norm' or 'none'.
        frozen: weights stay as they are.
        look: optimizer steps between two looks at the mask.
        settle: share of the kept that may change from look to look in a mask that has settled. None: no looks.
        patience: looks in a row without more change.
    """

    regulariser: Literal["log", "l1", "mcp", "scad", "lp"] = "log"
    knee: float | None = Field(default=None, gt=0)
    lam: float | None = Field(default=None, ge=0)
    m0: float = Field(default=0.5, gt=0, le=1)
    choice: Literal["percentage", "threshold"] = "percentage"
    alpha: float | None = Field(default=None, gt=0, le=1)
    gauge: Literal["norm", "none"] = "none"
    frozen: bool = False
    look: int = Field(default=20, ge=1)
    settle: float | None = Field(default=None, ge=0, le=1)
    patience: int = Field(default=3, ge=1)

    @property
    def penalty(self) -> Penalty:
        """R, of one player."""
        given = {"knee": self.knee} if self.knee is not None and self.regulariser in ("log", "scad") else {}
        return PENALTIES[self.regulariser](**given)


class ConcaveMask(Priced):
    """Masks by projected gradient under a concave penalty.

    Args:
        budget: see :class:`Budgeted`. settings: see :class:`ConcaveSettings`.
        members: ``(players,)`` who still takes part; the others were pruned in an earlier round and stay at 0.
    """

    name: ClassVar[str] = "concave"
    summary: ClassVar[str] = "a relaxed mask, trained with the weights, is driven to 0 and 1 by a concave penalty"
    source: ClassVar[str] = "Fracastoro et al. 2025, with the price of this project"
    cost: ClassVar[str] = "a few passes over gate slices each step; a training for every level"
    Settings: ClassVar[type[Timing]] = ConcaveSettings
    settings: ConcaveSettings

    def __init__(
        self, budget: Budget, settings: ConcaveSettings | None = None, *, members: Mask | None = None, **given: Any
    ) -> None:
        settings = settings or ConcaveSettings(**given)
        super().__init__(budget, settings.penalty, settings)
        self.members = members
        self.gauge: Gauge = "none" if settings.frozen else settings.gauge
        self.decays = self.gauge == "none"

    def init(self, players: Players) -> State:
        members = torch.ones(players.count, dtype=torch.bool) if self.members is None else self.members.cpu()
        return {**super().init(players), "member": members, "ticket": torch.zeros_like(members), "looks": 0, "calm": 0}

    def begin(self, players: Players, state: State) -> Participation:
        s = super().begin(players, state) * self.settings.m0
        return s if self.members is None else s * self.members.to(s)

    def penalise(self, players: Players, state: State, sums: Arithmetic, grads: Sequence[Tensor]) -> None:
        if self.settings.frozen:  # an optimizer passes over what has no gradient, decay included
            for parameter in players.model.parameters():
                parameter.grad = None

    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        member = state["member"].cpu().numpy()
        self._listen(state, np.where(member, host(pulse.slope), 0.0), int(member.sum()))
        for name in self.targets:
            state[f"path.{name}"] = self.path(name, pulse.step)
        if pulse.step < self.settings.warmup:
            return pulse.s
        s, eta = host(pulse.s), self.settings.eta
        wish = s + eta * host(state["benefit"])  # who has left is at 0 and has no benefit
        if self.settings.lam is None:
            out = self._cleared(players, state, s, wish)
        else:
            out = np.clip(wish - eta * self.settings.lam * self.rent.slope(s), 0.0, 1.0)
        out[out < SNAP] = 0.0
        after = torch.from_numpy(out).to(pulse.s)
        self._look(players, state, pulse.step, after)
        return after

    # -- the ticket ---------------------------------------------------------------------------------------

    def priority(self, players: Players, state: State, s: Participation) -> PerPlayer:
        """m, ties by what would move it; who had left is last."""
        return super().priority(players, state, s).masked_fill(~state["member"].cpu(), -1.0)

    def threshold(self, state: State, s: Participation) -> float:
        """α: as given, or where the living masks fall apart."""
        alpha = self.settings.alpha
        return alpha if alpha is not None else otsu(host(s)[state["member"].cpu().numpy()])

    def keep(self, players: Players, state: State, s: Participation) -> Mask:
        """The ticket: the highest m that the budget has room for, or m ≥ α within the layers' limits."""
        if self.settings.choice == "percentage":
            return fit_budget(players, self.priority(players, state, s), self.targets)
        return participants(players, state, s, self.threshold(state, s))

    def _look(self, players: Players, state: State, step: int, s: Participation) -> None:
        """Count how often in a row the ticket has hardly changed: |A∖B| / |A| between the last two."""
        if self.settings.settle is None or (step + 1) % self.settings.look:
            return
        ticket = self.keep(players, state, s).cpu()
        left = int((state["ticket"] & ~ticket).sum()) / max(1, int(state["ticket"].sum()))
        calm = state["looks"] > 0 and left <= self.settings.settle
        state["calm"] = state["calm"] + 1 if calm else 0
        state["ticket"], state["looks"] = ticket, state["looks"] + 1

    def settled(self, state: State) -> bool:
        """Whether the last looks found the same ticket, so that the round may end."""
        return state["calm"] >= self.settings.patience
