"""Tickets: how masks are chosen and weights restart, in the runs that look for a subnetwork to train."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..criteria import SCORES, Score
from ..errors import unknown
from ..partition import Players
from ..shapes import Mask
from .options import TrainOptions

Restart = Literal["rewind", "keep", "lr-rewind", "reinit"]


class TicketOptions(TrainOptions):
    """How masks are chosen and weights restart.

    Attributes:
        score: what the groups that leave are the lowest of; any that ``secateurs methods`` lists as a score.
        calibration: batches of training data that gradients are averaged over, for a score that needs some; by default
            as many as the score asks for, mostly 16.
        probes: random directions that a curvature is estimated with, likewise.
        schedule: the learning rate of every training: 'cosine' is a short warm-up and half a cosine to zero.
        restart: 'rewind', 'keep', 'lr-rewind' or 'reinit'. None: as the method says.
        rewind: the step of the first training that weights are taken back to; below 1, a fraction of that training.
        finetune: where weights are kept, the learning rate of every later training, as a fraction of the first's.
        recovery_lr: peak of the ticket's own training. None: as in the trainings before.
        allocation: 'global' compares scores across layers; 'layerwise' takes the same share of every layer.
        output_rate: where single weights leave layer by layer, the share that the last layer loses at a level, as a
            fraction of the others'.
    """

    score: str = "magnitude"
    calibration: int | None = Field(default=None, ge=1)
    probes: int = Field(default=16, ge=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    restart: Restart | None = None
    rewind: float = Field(default=0.0, ge=0)
    finetune: float = Field(default=0.1, gt=0, le=1)
    allocation: Literal["global", "layerwise"] = "global"
    output_rate: float = Field(default=0.5, ge=0, le=1)


class LevelsOptions(TicketOptions):
    """Options of the methods that prune level by level.

    Attributes:
        levels: how many masks are chosen. None: as many as it takes at ``rate``.
        rate: share that leaves at a level at most.
    """

    levels: int | None = Field(default=None, ge=1)
    rate: float = Field(default=0.2, gt=0, lt=1)


def redrawn(start: dict[str, Tensor], names: Iterable[str], seed: int) -> dict[str, Tensor]:
    """A fresh draw of initial weights: the entries of every parameter in another order. Where they were drawn
    independently, that is a draw from the same distribution, whatever it is; and a factory that reads weights from a
    file could give no other.

    Args:
        start: initial state of the model. names: which of it are parameters, every name of one that has several; the
            rest stays.
    """
    generator = torch.Generator().manual_seed(seed)
    out = dict(start)
    for name in names:
        flat = start[name].flatten()
        out[name] = flat[torch.randperm(flat.numel(), generator=generator)].view_as(start[name])
    return out


def score_named(name: str) -> Score:
    """The score called ``name``.

    Raises:
        UnknownNameError: there is none; the nearest are suggested.
    """
    if name not in SCORES:
        raise unknown("score", name, SCORES)
    return SCORES[name]()


def shuffled(players: Players, mask: Mask, seed: int) -> Mask:
    """A random mask with as many players in every layer."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.zeros_like(mask)
    for layer in players.layers:
        order = torch.randperm(layer.size, generator=generator)
        out[layer.start + order[: int(mask[layer.start : layer.stop].sum())]] = True
    return out
