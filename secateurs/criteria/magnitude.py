"""Magnitude: how large a player's own weights are."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..partition import Players, producers
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score


class Magnitude(Score):
    """‖w_g‖₂ of the weights that *produce* what the player carries: a filter's or neuron's incoming weights
    (Li et al. 2017, with the ℓ2 norm), a weight's |w| at weight granularity. A block's are those that silence it, such
    as the scales and shifts of its last BatchNorm.

    Keeping the k largest |w| is the Euclidean projection onto ‖w‖₀ ≤ k. Producers are the output axes of weights with
    two or more dimensions; several tied producers add in squares.
    """

    name: ClassVar[str] = "magnitude"
    summary: ClassVar[str] = "the smallest ℓ2 norm of the weights that make a group"
    source: ClassVar[str] = "Han et al. 2015; Li et al. 2017 (filters)"

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        if players.granularity == "weight":
            return players.gates.elements(torch.abs, signals.theta)
        made = producers(players)
        return made.sq_norm([p.detach() for p in made.parameters]).sqrt_()


class MagnitudeL1(Score):
    """‖w_g‖₁ of the same weights. At channel granularity this is the filter norm of Li et al. (2017), Σ|F_i|; several
    tied producers add.
    """

    name: ClassVar[str] = "magnitude-l1"
    summary: ClassVar[str] = "the smallest ℓ1 norm of the weights that make a group"
    source: ClassVar[str] = "Li et al. 2017 (filters)"

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        if players.granularity == "weight":
            return players.gates.elements(torch.abs, signals.theta)
        made = producers(players)
        rows = [p.detach() for p in made.parameters]
        return made.dot(rows, [row.sign() for row in rows])
