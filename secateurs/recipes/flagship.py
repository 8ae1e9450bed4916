"""The flagship as a run: warm-up, market, cut, recovery."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..dynamics import Market, MarketSettings, Participating
from ..partition import Players
from ..shapes import PerPlayer
from ..spec import Budget
from ..training import Trainer
from .equilibrium import Equilibrium
from .options import TrainOptions
from .playing import PlayingRun

PATIENCE = 100  # steps at zero before a player may be cut during training
LOOK_EVERY = 50  # steps between looks for such players
WORTH = 0.1  # share of the players still there that makes a compaction pay


class EquilibriumOptions(TrainOptions):
    """Options of method ``equilibrium``. Durations are fractions of all steps.

    Attributes:
        warmup: plain training before the market opens.
        market: where the path reaches the budget and the cut is made.
        travel: how many times a player of average benefit could cross [0, 1] within the market; sets η_s, which is at
            most 0.1 a step.
        rent: ``concave`` or ``linear``.
        knee: κ of the concave rent.
        damping: of the benefit's moving average.
        power: exponent of the path.
        proportion: ρ of the fair share: 1 charges a layer's groups for their share of it, 0 for what they use.
        settle: share of the market's time that it stays at the budget before the cut, for decisions to become binary.
        compact: cut idle players out of the live network during training.
    """

    warmup: float = Field(default=0.1, ge=0, lt=1)
    market: float = Field(default=0.55, gt=0, lt=1)
    travel: float = Field(default=70.0, gt=0)
    rent: Literal["concave", "linear"] = "concave"
    knee: float = Field(default=0.1, gt=0)
    damping: float = Field(default=0.9, ge=0, lt=1)
    power: float = Field(default=3.0, gt=0)
    proportion: float = Field(default=1.0, ge=0, le=2)
    settle: float = Field(default=0.0, ge=0, lt=1)
    compact: bool = True


class EquilibriumRun(PlayingRun):
    """The market's run. See :class:`secateurs.recipes.pruning.Pruning`."""

    options: EquilibriumOptions

    def cut_at(self) -> float:
        return self.options.market

    def __init__(
        self, players: Players, budget: Budget, options: EquilibriumOptions, total: int, folder: Path | None = None
    ) -> None:
        super().__init__(players, budget, options, total, folder)
        if "warmup" in options.model_fields_set:
            self.require_before_cut(options.warmup, "equilibrium", "market")
        self.warmup_step = min(round(options.warmup * total), self.cut_step - 1)
        settings = MarketSettings(
            warmup=self.warmup_step,
            horizon=max(1, round((self.cut_step - self.warmup_step) * (1 - options.settle))),
            **{k: getattr(options, k) for k in ("travel", "rent", "knee", "damping", "power", "proportion")},
        )
        # What is timed is timed once, and by one process: in `decide`.
        self.equilibrium = Equilibrium(players, budget, market=settings, measured=False)

    @property
    def market(self) -> Market:
        """The dynamics: a budget was given, so there is a market."""
        assert isinstance(self.equilibrium.dynamics, Market)
        return self.equilibrium.dynamics

    @property
    def dynamics(self) -> Market:
        return self.market

    def wrap(self, optimizer: torch.optim.Optimizer) -> Participating:
        return self.equilibrium.wrap(optimizer)

    def worth(self, game: Participating) -> tuple[PerPlayer, PerPlayer]:
        return self.market.utility_of(game.players, game.state_of, game.s)

    def phase(self, step: int) -> str:
        return "warmup" if step < self.warmup_step else "market" if step < self.cut_step else "recovery"

    def standing(self) -> tuple[Tensor, dict[str, dict[str, float]]]:
        assert self.game is not None
        return self.game.s, self.market.ledger(self.game.state_of)

    def after_step(self, trainer: Trainer, loss: float | None) -> None:
        super().after_step(trainer, loss)
        game = self.game
        if self.outcome is not None or game is None:
            return
        if trainer.step % max(1, trainer.steps_per_epoch // 4) == 0:
            self.note(trainer, None, loss)
        groups = self.players.granularity != "weight"  # single weights leave no smaller shape behind
        if self.options.compact and groups and trainer.step > self.warmup_step and trainer.step % LOOK_EVERY == 0:
            leaving = game.idlers(PATIENCE)
            if int(leaving.sum()) >= WORTH * game.players.count:
                game.compact(~leaving)
                self.surgery, self.players = game.surgery, game.players
                trainer.model_changed()
