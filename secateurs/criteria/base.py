"""A score: one number per player, higher = keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ..errors import StructureError
from ..partition import Players
from ..shapes import Mask, PerPlayer
from ..signals import Signals

EVERY = ("weight", "channel", "head", "block")


class Score(ABC):
    """Scores players without changing anything. The class says of itself what ``secateurs methods`` lists.

    Attributes:
        name: what it is called on the command line. summary: one line. source: where it comes from.
        cost: beyond plain training. needs: the data it looks at; 'nothing', or what is read of it.
        granularities: what its mathematics is defined for.
        early: it is meant for networks that have not been trained yet.
        rounds: how often it is asked, the mask shrinking geometrically in between.
        calibration: batches that it looks at, unless told otherwise.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    cost: ClassVar[str] = "none"
    needs: ClassVar[str] = "nothing"
    granularities: ClassVar[tuple[str, ...]] = EVERY
    early: ClassVar[bool] = False
    rounds: ClassVar[int] = 1
    calibration: ClassVar[int] = 16

    @abstractmethod
    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        """``(players,)`` scores, higher = keep."""

    def settle(self, players: Players, signals: Signals, keep: Mask) -> Mask:
        """Who stays, now that the budget says how many of every layer do: as many again. By default those that scored
        highest, which ``keep`` are."""
        return keep

    def repair(self, players: Players, signals: Signals, keep: Mask) -> None:  # noqa: B027
        """What the score's own theory does to the weights that stay when the others go, in place; mostly nothing."""

    def require(self, players: Players) -> None:
        """Raises: StructureError where it has no meaning at this granularity."""
        bad = [g for g in players.granularity.split("+") if g not in self.granularities]
        if bad:
            known = ", ".join(self.granularities)
            raise StructureError(f"score {self.name!r} is not defined at granularity {bad[0]!r}; it is for {known}")
