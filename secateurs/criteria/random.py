"""Random scores: the control that every criterion must beat."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..partition import Players
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score


class Random(Score):
    """Independent uniform scores from the signals' generator."""

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "random groups: the control"
    source: ClassVar[str] = "control"

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        return torch.rand(players.count, generator=signals.generator).to(players.device)
