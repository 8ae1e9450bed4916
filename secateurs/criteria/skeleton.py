"""Skeletonization: relevance by a linear error."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..partition import Players
from ..shapes import PerPlayer
from ..signals import Signals
from ..training import logits
from .base import Score


class Skeleton(Score):
    """ρ_g = E(s_g = 0) − E(s = 1) ≈ −∂E/∂s_g at s = 1, E = Σ_k |t_k − o_k| (Mozer & Smolensky 1989).

    With its sign: who makes the error larger goes first. The error is linear, and not the one that is trained, because
    a squared error's or a cross-entropy's derivative vanishes as outputs come close to their targets, and with it the
    relevance of those who brought them there. Outputs are softmax probabilities and targets one-hot where labels are
    classes; else both are taken as they are.
    """

    name: ClassVar[str] = "skeleton"
    summary: ClassVar[str] = "the smallest relevance −∂E/∂s under the linear error Σ|t − o|"
    source: ClassVar[str] = "Mozer & Smolensky 1989"
    cost: ClassVar[str] = "a few backward passes, once"
    needs: ClassVar[str] = "calibration batches"

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        return -signals.renewed(loss=linear_error).slope


def linear_error(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Σ_k |t_k − o_k|, the mean over a batch."""
    out = logits(model(x))
    if y.is_floating_point():
        return (y - out).abs().flatten(1).sum(1).mean()
    chances = torch.softmax(out, -1)
    return (F.one_hot(y, out.shape[-1]) - chances).abs().sum(-1).mean()
