"""Uniform allocation: the same share of every layer, by comparing players within their layer only."""

from __future__ import annotations

import torch

from ..partition import Players
from ..shapes import PerPlayer


def within_layers(players: Players, scores: PerPlayer) -> PerPlayer:
    """Each player's quantile in its own layer, (rank + ½)/size: a priority under which layers thin out alike.

    Args:
        scores: ``(players,)``, higher = keep; ties and NaN as in ``fit_budget``: the lower index stays, NaN is lowest.
    """
    scores = torch.nan_to_num(scores.detach().double().cpu(), nan=-torch.inf)
    ranks = torch.zeros(players.count)
    for layer in players.layers:
        order = torch.sort(scores[layer.start : layer.stop], descending=True, stable=True).indices.flip(0)
        ranks[layer.start + order] = (torch.arange(layer.size) + 0.5) / layer.size
    return ranks
