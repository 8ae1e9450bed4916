"""SNIP: connection sensitivity before training."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..partition import Players
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score


class Snip(Score):
    """|∂L/∂s_g| / Σ_k|∂L/∂s_k| at initialisation (Lee et al. 2019): the share of all sensitivity to participation that
    is the group's. One batch is enough.
    """

    name: ClassVar[str] = "snip"
    summary: ClassVar[str] = "the smallest |∂L/∂s| at initialisation"
    source: ClassVar[str] = "Lee et al. 2019"
    cost: ClassVar[str] = "one backward pass, before training"
    needs: ClassVar[str] = "a training batch"
    early: ClassVar[bool] = True
    calibration: ClassVar[int] = 1

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        scores = players.gates.dot(signals.gradient, signals.theta).abs_()
        return scores.div_(scores.sum().clamp_min(torch.finfo(scores.dtype).tiny))
