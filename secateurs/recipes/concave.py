"""Concave masks in rounds: search a mask beside the weights, rewind, search again within it, train the ticket.

A :class:`secateurs.recipes.levels.LevelsRun` whose searches move a relaxed mask (:mod:`secateurs.dynamics.concave`):
as many trainings, as many steps, the same geometric masks and the same rewinding as iterative magnitude pruning has.
Only who leaves is decided otherwise. In every search the price of the mask leads it to the amount of its level.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..dynamics import ConcaveMask, ConcaveSettings, Participating
from ..errors import RunError
from ..partition import Players
from ..shapes import Mask, PerPlayer
from ..signals import Signals
from ..spec import Budget
from ..training import Trainer
from .levels import LevelsRun
from .pruning import Cut
from .tickets import LevelsOptions


class ConcaveOptions(LevelsOptions):
    """Options of the concave mask. Of the others, ``score`` does not matter: groups leave by their masks.

    Attributes:
        regulariser: R: ``log``, ``l1``, ``mcp``, ``scad`` or ``lp``.
        knee: κ of log, a of SCAD; by default as the penalty has it.
        lam: λ; by default the price at which demand meets the budget.
        m0: where every mask begins.
        choice: ``percentage`` keeps as many as the budget has room for, ``threshold`` those with m ≥ α, however many.
        alpha: α; by default where the mask's values fall apart best (Otsu).
        damping: of the slopes' moving average.
        travel: how many times a mask of average slope could cross [0, 1] within a search.
        power: exponent of the path on which demand falls.
        normalised: slopes in units of their running root mean square; else bare.
        mask_rate: η_m; by default as ``travel`` says.
        gauge: ``norm`` keeps norms to at most their initial values, ``none`` does not; by default ``norm`` for groups,
            ``none`` for single weights.
        frozen: weights stay as they are, and only masks move.
        look: optimizer steps between two looks at the mask.
        settle: share of the kept that may change from look to look in a mask that has settled; the search then ends,
            and the ticket is trained for the steps that are left over. By default there are no looks.
        patience: looks in a row without more change.
        wait: plain training, with the mask at m0, before it moves; as a fraction of a search.
        descent: the fraction of a search in which the mask's demand falls to the level's amount.
    """

    regulariser: Literal["log", "l1", "mcp", "scad", "lp"] = "log"
    knee: float | None = Field(default=None, gt=0)
    lam: float | None = Field(default=None, ge=0)
    m0: float = Field(default=0.5, gt=0, le=1)
    choice: Literal["percentage", "threshold"] = "percentage"
    alpha: float | None = Field(default=None, gt=0, le=1)
    damping: float = Field(default=0.9, ge=0, lt=1)
    travel: float = Field(default=7.0, gt=0)
    power: float = Field(default=3.0, gt=0)
    normalised: bool = True
    mask_rate: float | None = Field(default=None, gt=0)
    gauge: Literal["norm", "none"] | None = None
    frozen: bool = False
    wait: float = Field(default=0.0, ge=0, lt=1)
    descent: float = Field(default=0.75, gt=0, le=1)
    look: int = Field(default=20, ge=1)
    settle: float | None = Field(default=None, ge=0, le=1)
    patience: int = Field(default=3, ge=1)


_SHARED = (
    "regulariser", "knee", "lam", "m0", "choice", "alpha", "damping", "travel", "power", "normalised", "frozen", "look",
    "settle", "patience",
)  # fmt: skip


class ConcaveRun(LevelsRun):
    """Levels whose masks are trained. See :class:`secateurs.recipes.levels.LevelsRun`.

    Attributes:
        game: the optimizer of the search that is under way; None while the ticket is trained.
        searched: ``(players,)`` the relaxed mask that each finished search ended with.

    Raises:
        RunError: a latency is budgeted and the threshold is to decide.
    """

    options: ConcaveOptions
    game: Participating | None = None

    def __init__(
        self, players: Players, budget: Budget, options: ConcaveOptions, total: int, folder: Path | None = None
    ) -> None:
        if options.choice == "threshold" and budget.latency is not None:
            raise RunError(
                f"choice=threshold keeps as many as the mask says, and budget {budget} asks for a latency; use "
                "choice=percentage"
            )
        self._seconds = 0.0
        self.searched: list[Tensor] = []
        super().__init__(players, budget, options, total, folder)

    # -- searching ----------------------------------------------------------------------------------------

    def rule(self, level: int) -> ConcaveMask:
        """How the mask moves in the search of ``level``, to that level's amounts."""
        o, steps = self.options, self.starts[level] - self.starts[level - 1]
        settings = ConcaveSettings(
            warmup=round(o.wait * steps),
            horizon=max(1, min(round(o.descent * steps), steps - round(o.wait * steps))),
            rate=o.mask_rate,
            gauge=o.gauge or ("none" if self.players.granularity == "weight" else "norm"),
            **{name: getattr(o, name) for name in _SHARED},
        )
        amounts = {n: a if n == "latency" else a / self.dense[n] for n, a in self.wanted(level).items()}
        return ConcaveMask(Budget(**amounts), settings, members=self.mask)

    def search_optimizer(self, model: nn.Module, level: int) -> torch.optim.Optimizer:
        self.game = self.rule(level).wrap(self.options.make(model), self.players)
        return self.game

    def rank(self, signals: Signals, level: int) -> PerPlayer:
        assert self.game is not None
        return self._rule.priority(self.players, self.game.state_of, self.game.s)

    def choose(self, trainer: Trainer, level: int) -> Mask:
        game = self.game
        assert game is not None
        self.searched.append(game.s.detach().cpu().clone())
        keep = super().choose(trainer, level)
        if self.options.choice == "threshold":
            keep = self._rule.keep(self.players, game.state_of, game.s)
        return keep

    def descend(self, trainer: Trainer) -> None:
        super().descend(trainer)
        self._seconds, self.game = self.game_seconds(), None

    def decide(self, trainer: Trainer) -> Cut:
        cut = super().decide(trainer)
        cut.participation = self.searched[-1].float()
        return cut

    def after_step(self, trainer: Trainer, loss: float | None) -> None:
        super().after_step(trainer, loss)
        if self.game is None or not self._rule.settled(self.game.state_of):
            return
        left = self.starts[self.level + 1] - (trainer.step + 1)
        for training in range(self.level + 1, self.levels + 1):
            self.starts[training] -= left
        self.cut_step = self.starts[self.levels]

    @property
    def _rule(self) -> ConcaveMask:
        assert self.game is not None and isinstance(self.game.dynamics, ConcaveMask)
        return self.game.dynamics

    # -- what a run is made of ----------------------------------------------------------------------------

    def standing(self) -> tuple[Tensor, dict[str, dict[str, float]]]:
        if self.game is None:
            return super().standing()
        return self.game.s, self._rule.ledger(self.game.state_of)

    def _remember(self, trainer: Trainer) -> None:
        with self._bare():
            super()._remember(trainer)

    @contextlib.contextmanager
    def _bare(self) -> Iterator[None]:
        """Within the block the model holds θ and not θ̃ = m⊙θ: that is what weights are rewound to."""
        if self.game is None:
            yield
            return
        self.game.weights.swap()
        try:
            yield
        finally:
            self.game.weights.swap()

    def game_seconds(self) -> float:
        """Wall seconds of the masks' own arithmetic."""
        return self._seconds + (self.game.seconds if self.game is not None else 0.0)

    def state_dict(self) -> Any:
        own = {"starts": list(self.starts), "searched": list(self.searched), "mask_seconds": self._seconds}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.searched, self._seconds = list(state["searched"]), state["mask_seconds"]

    def before_load(self, trainer: Trainer, tree: dict[str, Any]) -> None:
        state = self.saved(tree)
        # A search under way is one within the mask before it.
        self.level, self.mask, self.starts = state["level"], state["mask"], list(state["starts"])
        self.cut_step = self.starts[self.levels]
        if state["outcome"] is not None:
            self.game = None
        super().before_load(trainer, tree)
