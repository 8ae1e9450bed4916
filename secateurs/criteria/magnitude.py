"""Magnitude: how large a player's own weights are."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..partition import Players
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score


class Magnitude(Score):
    """‖w_g‖₂ of the weights that *produce* what the player carries: a filter's or neuron's incoming weights
    (Li et al. 2017, with the ℓ2 norm), a weight's |w| at weight granularity.

    Producers are the output axes of weights with two or more dimensions; several tied producers add in squares.
    """

    name: ClassVar[str] = "magnitude"
    summary: ClassVar[str] = "the smallest ℓ2 norm of the weights that make a group"
    source: ClassVar[str] = "Han et al. 2015; Li et al. 2017 (filters)"

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        if players.granularity == "weight":
            return players.gates.elements(torch.abs, [p.detach() for p in players.gates.parameters])
        return produced_norms(players).sqrt()


def produced_norms(players: Players) -> PerPlayer:
    """Σ of squared producer weights of every player."""
    named = dict(players.model.named_parameters(remove_duplicate=False))
    player_of = torch.full((players.structure.atoms + 1,), players.count, dtype=torch.long)
    player_of[players.atoms.cpu()] = torch.arange(players.count)
    sums = torch.zeros(players.count + 1)
    for (name, axis), ids in players.structure.axes.items():
        parameter = named.get(name)
        if parameter is None or parameter.dim() < 2 or axis != 0:
            continue
        squares = parameter.detach().float().square().flatten(1).sum(1).cpu()
        owner = torch.from_numpy(ids)
        sums.index_add_(0, torch.where(owner >= 0, player_of[owner], players.count), squares)
    return sums[: players.count].to(players.device)
