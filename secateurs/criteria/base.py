"""A score: one number per player, higher = keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..partition import Players
from ..shapes import PerPlayer


@dataclass
class Signals:
    """What a score may look at besides the weights.

    Attributes:
        gradients: averaged ∂L/∂θ of the gated parameters, parallel to ``players.gates.parameters``.
        generator: for scores that draw.
    """

    gradients: Sequence[Tensor] | None = None
    generator: torch.Generator | None = None


class Score(ABC):
    """Scores players without changing anything."""

    name: ClassVar[str]
    needs_gradients: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        """``(players,)`` scores, higher = keep."""
