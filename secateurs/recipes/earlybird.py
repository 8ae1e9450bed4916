"""Early-bird tickets (You et al. 2020): the mask settles long before the weights do, so the search can stop there.

A normal training is watched. At every look the mask that the budget would leave is computed; d(m, m') is the share of
players in which two masks differ. Once

    max d(m_t, m_{t−i}) < ε,   i = 1 … 5,   ε = 0.1,

the cut is made, and the steps that are left train the ticket on a schedule of its own, from the weights that it has.
A mask that never settles is cut at the latest moment that the options allow.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from pydantic import Field

from ..partition import Players
from ..shapes import Mask
from ..spec import Budget
from ..training import Trainer
from .levels import LevelsRun
from .tickets import Restart, TicketOptions


class EarlyBirdOptions(TicketOptions):
    """Options of method ``early-bird``.

    Attributes:
        distance: ε, the share of groups in which masks may differ.
        window: how many masks before the newest are compared with it.
        look: time between looks, as a fraction of the run. None: an epoch.
        latest: where the search ends if no mask settles, as a fraction of the run.
    """

    distance: float = Field(default=0.1, gt=0, le=1)
    window: int = Field(default=5, ge=1)
    look: float | None = Field(default=None, gt=0, lt=1)
    latest: float = Field(default=0.5, gt=0, lt=1)


class EarlyBirdRun(LevelsRun):
    """A run of one level whose end is found on the way. See :class:`secateurs.recipes.levels.LevelsRun`.

    Attributes:
        looks: the last masks, the newest last.
    """

    options: EarlyBirdOptions  # type: ignore[assignment]

    def __init__(
        self,
        players: Players,
        budget: Budget,
        options: EarlyBirdOptions,
        total: int,
        folder: Path | None = None,
        *,
        restart: Restart = "lr-rewind",
    ) -> None:
        super().__init__(players, budget, options, total, folder, restart=restart)  # type: ignore[arg-type]
        self.looks: list[Mask] = []

    def count_levels(self, budget: Budget) -> int:
        return 1

    def cut_at(self) -> float:
        return self.options.latest

    def trainings(self) -> list[int]:
        return [0, self.cut_step, self.total]

    def may_end(self) -> bool:
        return False  # the search has trained little: what is left is the ticket's training

    def phase(self, step: int) -> str:
        return "search" if step < self.cut_step else "recovery"

    def rate(self, step: int) -> float:
        # The search is the beginning of a normal training, whose end nobody waits for.
        return self.schedule(self.total)(step) if step < self.cut_step else super().rate(step)

    def on_start(self, trainer: Trainer) -> None:
        super().on_start(trainer)
        every = self.every(trainer)
        looks = (self.cut_step - 1) // every - self.rewind_step // every
        if self.outcome is None and not self.looks and looks <= self.options.window:
            warnings.warn(
                f"early-bird will look {looks} times before step {self.cut_step}, and settles by comparing "
                f"{self.options.window + 1} masks: it is cut there whatever they are. Use more epochs, or give "
                "look= or window= smaller numbers",
                stacklevel=2,
            )

    def every(self, trainer: Trainer) -> int:
        """Steps between two looks."""
        return trainer.steps_per_epoch if self.options.look is None else max(1, round(self.options.look * self.total))

    def before_step(self, trainer: Trainer) -> None:
        if self.rewind_step < trainer.step < self.cut_step and trainer.step % self.every(trainer) == 0:
            self.look(trainer)
        super().before_step(trainer)

    def look(self, trainer: Trainer) -> None:
        """Compute the mask of this moment; where it has settled, make this the step of the cut."""
        self.scores = self.score(self.players, self.signals(trainer, 1))
        mask = self.select(1)
        if len(self.looks) == self.options.window and all(
            distance(mask, before) < self.options.distance for before in self.looks
        ):
            self._stop(trainer.step)
        self.looks = [*self.looks, mask][-self.options.window :]

    def _stop(self, step: int) -> None:
        self.cut_step = step
        self.starts = self.trainings()

    def state_dict(self) -> Any:
        return {**super().state_dict(), "cut_step": self.cut_step, "looks": self.looks}

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.looks = list(state["looks"])

    def before_load(self, trainer: Trainer, tree: dict[str, Any]) -> None:
        state = self.saved(tree)
        self._stop(state["cut_step"])
        super().before_load(trainer, tree)


def distance(one: Mask, other: Mask) -> float:
    """Share of players in which two masks differ: their Hamming distance over the number of players."""
    return float((one != other).float().mean())
