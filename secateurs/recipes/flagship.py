"""The flagship as a run: warm-up, market, cut, recovery."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..dynamics import Market, MarketSettings, Participating
from ..dynamics.certificate import sentence
from ..partition import Players
from ..spec import Budget
from ..training import Trainer, decided
from .equilibrium import Equilibrium
from .latency import tighten
from .options import TrainOptions
from .pruning import Cut, Pruning

PATIENCE = 100  # steps at zero before a player may be cut during training
LOOK_EVERY = 50  # steps between looks for such players
WORTH = 0.1  # share of the players still there that makes a compaction pay


class EquilibriumOptions(TrainOptions):
    """Options of method ``equilibrium``. Durations are fractions of all steps.

    Attributes:
        warmup: plain training before the market opens.
        market: where the path reaches the budget and the cut is made.
        travel, rent, knee, damping, power, proportion: see :class:`secateurs.dynamics.MarketSettings`.
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


class EquilibriumRun(Pruning):
    """The market's run. See :class:`secateurs.recipes.pruning.Pruning`."""

    name: ClassVar[str] = "equilibrium"
    options: EquilibriumOptions

    def cut_at(self) -> float:
        return self.options.market

    def __init__(
        self, players: Players, budget: Budget, options: EquilibriumOptions, total: int, folder: Path | None = None
    ) -> None:
        super().__init__(players, budget, options, total, folder)
        self.warmup_step = min(round(options.warmup * total), self.cut_step - 1)
        settings = MarketSettings(
            warmup=self.warmup_step,
            horizon=max(1, round((self.cut_step - self.warmup_step) * (1 - options.settle))),
            **{k: getattr(options, k) for k in ("travel", "rent", "knee", "damping", "power", "proportion")},
        )
        # What is timed is timed once, and by one process: in `decide`.
        self.equilibrium = Equilibrium(players, budget, market=settings, measured=False)
        self.game: Participating | None = None

    @property
    def market(self) -> Market:
        """The dynamics: a budget was given, so there is a market."""
        assert isinstance(self.equilibrium.dynamics, Market)
        return self.equilibrium.dynamics

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        self.game = self.equilibrium.wrap(self.options.make(model))
        return self.game

    def phase(self, step: int) -> str:
        return "warmup" if step < self.warmup_step else "market" if step < self.cut_step else "recovery"

    def standing(self) -> tuple[Tensor, dict[str, dict[str, float]]]:
        assert self.game is not None
        market: dict[str, dict[str, float]] = {"price": {}, "demand": {}, "path": {}}
        state, dense = self.game.state_of, self.market.dense
        for name, amount in dense.items():
            market["price"][name] = state[f"price.{name}"]
            market["demand"][name] = state[f"demand.{name}"] / amount
            market["path"][name] = state[f"path.{name}"] / amount
        return self.game.s, market

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

    def decide(self, trainer: Trainer) -> Cut:
        game = self.game
        assert game is not None
        alive = game.alive.clone()
        benefit, paid = self.market.utility_of(game.players, game.state_of, game.s)
        s = game.s.clone()
        if self.latency is not None:
            targets, clock = self.market.targets, self.latency
            build = partial(game.harvest, early=True)
            targets.update(decided(lambda: tighten(targets, build, clock), trainer.accelerator))
        # A gradient scaler skips steps, so the game's own count may lag behind the trainer's.
        game.harvest(inplace=True, early=True)
        kept = torch.zeros(self.count, dtype=torch.bool)
        kept[alive] = game.kept.cpu()
        certificate = game.certificate
        if certificate is not None:
            certificate.left_earlier = self.count - int(alive.sum())
            certificate.sentence = sentence(certificate, int(alive.sum()))
        return Cut(
            surgery=game.surgery if self.players.granularity != "weight" else None,
            kept=kept,
            participation=_spread(s, alive),
            benefit=_spread(benefit, alive),
            cost=_spread(paid, alive),
            certificate=certificate,
        )

    def before_load(self, trainer: Trainer, tree: dict[str, Any]) -> None:
        """Before the cut, the game itself knows which players had left; after it, the surgery says it all."""
        state = next(s for n, s in tree["callbacks"] if n == type(self).__name__)
        if state["outcome"] is None and self.game is not None:
            self.game.compact_to(tree["optimizer"]["alive"])
            self.surgery, self.players = self.game.surgery, self.game.players
            return
        super().before_load(trainer, tree)

    def game_seconds(self) -> float:
        """Wall seconds of the game's own arithmetic, before the cut."""
        return self.game.seconds if self.game is not None else 0.0

    def state_dict(self) -> Any:
        return {**super().state_dict(), "game_seconds": self.game_seconds()}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        if self.game is not None:
            self.game.seconds = state["game_seconds"]


def _spread(values: Tensor, alive: Tensor) -> Tensor:
    """Values of the players still there, over all original players; 0 for those who left before."""
    out = torch.zeros(alive.numel(), dtype=values.dtype)
    out[alive] = values.cpu()
    return out
