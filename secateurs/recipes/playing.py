"""Runs whose participation moves during training: wrap the optimizer, train, harvest, go on or recover."""

from __future__ import annotations

import copy
from abc import abstractmethod
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, create_model
from torch import Tensor, nn

from ..dynamics import Budgeted, Participating
from ..dynamics.certificate import sentence
from ..errors import RunError
from ..partition import Players
from ..shapes import PerPlayer
from ..spec import Budget, derive_seed
from ..training import Trainer, decided
from .described import texts
from .latency import tighten
from .options import TrainOptions
from .pruning import Cut, Pruning


class PlayingRun(Pruning):
    """Base of the runs that wrap the optimizer. See :class:`secateurs.recipes.pruning.Pruning`."""

    game: Participating | None = None

    @property
    @abstractmethod
    def dynamics(self) -> Budgeted:
        """The rule that moves participation."""

    @abstractmethod
    def wrap(self, optimizer: torch.optim.Optimizer) -> Participating:
        """The optimizer whose steps also move participation."""

    def require_before_cut(self, warmup: float, name: str, cut: str) -> None:
        """Raises: RunError where the warm-up that was asked for leaves the rule no time before the ``cut`` option."""
        if warmup >= self.cut_at():
            raise RunError(
                f"warmup={warmup:g} of the run leaves no step for {name} before the cut at {self.cut_at():g}; give a "
                f"smaller warmup=, or a larger {cut}="
            )

    def worth(self, game: Participating) -> tuple[PerPlayer, PerPlayer]:
        """What every player gained and paid, for the report."""
        priority = self.dynamics.priority(game.players, game.state_of, game.s)
        return priority, torch.zeros_like(priority)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        self.game = self.wrap(self.options.make(model))
        return self.game

    def standing(self) -> tuple[Tensor, dict[str, dict[str, float]]]:
        assert self.game is not None
        return self.game.s, {}

    def decide(self, trainer: Trainer) -> Cut:
        game = self.game
        assert game is not None
        alive = game.alive.clone()
        benefit, paid = self.worth(game)
        s = game.s.clone()
        if self.latency is not None:
            targets, clock = self.dynamics.targets, self.latency
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
        state = self.saved(tree)
        if state["outcome"] is None and self.game is not None:
            self.game.compact_to(tree["optimizer"]["alive"])
            self.surgery, self.players = self.game.surgery, self.game.players
            return
        super().before_load(trainer, tree)

    def game_seconds(self) -> float:
        """Wall seconds of the rule's own arithmetic, before the cut."""
        return self.game.seconds if self.game is not None else 0.0

    def state_dict(self) -> Any:
        return {**super().state_dict(), "game_seconds": self.game_seconds()}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        if self.game is not None:
            self.game.seconds = state["game_seconds"]


class DynamicsOptions(TrainOptions):
    """Options of the methods that move participation; each has its own settings beside them.

    Attributes:
        warmup: plain training before participation moves, as a fraction of all steps; by default as the method says.
        cut: where the budget is reached and the cut is made; by default as the method says.
    """

    warmup: float | None = Field(default=None, ge=0, lt=1)
    cut: float | None = Field(default=None, gt=0, lt=1)


def options_of(kind: type[Budgeted]) -> type[DynamicsOptions]:
    """What a method that is this rule can be told: the rule's own settings, durations as fractions of the run."""
    said, own = texts(kind.Settings), {}
    for name, field in kind.Settings.model_fields.items():
        if name not in ("warmup", "horizon"):
            own[name] = (field.annotation, field := copy.copy(field))
            field.description = said.get(name)
    return create_model(f"{kind.__name__}Options", __base__=DynamicsOptions, **own)  # type: ignore[call-overload]


class DynamicsRun(PlayingRun):
    """A rule of the registry as a run."""

    def __init__(
        self,
        kind: type[Budgeted],
        players: Players,
        budget: Budget,
        options: DynamicsOptions,
        total: int,
        folder: Path | None = None,
    ) -> None:
        self.kind = kind
        self.options = options
        super().__init__(players, budget, options, total, folder)
        warmup = kind.span[0] if options.warmup is None else options.warmup
        if options.warmup is not None:
            self.require_before_cut(options.warmup, kind.name, "cut")
        self.warmup_step = min(round(warmup * total), self.cut_step - 1)
        own = {n: getattr(options, n) for n in kind.Settings.model_fields if n not in ("warmup", "horizon")}
        self._dynamics = kind(budget, warmup=self.warmup_step, horizon=self.cut_step - self.warmup_step, **own)

    @property
    def dynamics(self) -> Budgeted:
        return self._dynamics

    def cut_at(self) -> float:
        return self.kind.span[1] if self.options.cut is None else self.options.cut

    def wrap(self, optimizer: torch.optim.Optimizer) -> Participating:
        if "seed" in self.kind.Settings.model_fields:  # what is drawn differs between runs, as data and weights do
            own = derive_seed(self.seed, self.options.seed)
            self._dynamics.settings = self._dynamics.settings.model_copy(update={"seed": own})
        return self._dynamics.wrap(optimizer, self.players)

    def may_end(self) -> bool:
        return not self.kind.continues and super().may_end()

    def rate(self, step: int) -> float:
        return self.options.dense_rate(self.total)(step) if self.kind.continues else super().rate(step)

    def recovery_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        if not self.kind.continues:
            return super().recovery_optimizer(model)
        game = self.game
        assert game is not None
        # Where a run is resumed after its cut, the game has not been played: its optimizer is made anew, and loaded.
        return self.options.make(model) if game.active else game.inner


def _spread(values: Tensor, alive: Tensor) -> Tensor:
    """Values of the players still there, over all original players; 0 for those who left before."""
    out = torch.zeros(alive.numel(), dtype=values.dtype)
    out[alive] = values.cpu()
    return out
