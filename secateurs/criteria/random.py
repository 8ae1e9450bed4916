"""Random scores: the control that every criterion must beat."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..partition import Players
from ..shapes import PerPlayer
from .base import Score, Signals


class Random(Score):
    """Independent uniform scores from the given generator."""

    name: ClassVar[str] = "random"

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        return torch.rand(players.count, generator=signals.generator).to(players.device)
