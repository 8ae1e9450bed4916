"""Uniform allocation: the same share of every layer, by comparing players within their layer only; or of every neuron,
by comparing single weights with those that enter the same one."""

from __future__ import annotations

import torch

from ..errors import StructureError
from ..partition import Players
from ..shapes import PerPlayer
from ..structure.naming import TRANSPOSED


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


def within_neurons(players: Players, scores: PerPlayer) -> PerPlayer:
    """Each single weight's quantile among those that enter the same neuron (filter), (rank + ½)/width: a priority under
    which neurons thin out alike. Of a layer's count every neuron keeps an equal share, the remainder goes to those of
    lower index.

    Args:
        scores: ``(players,)``, higher = keep; ties and NaN as in :func:`within_layers`.
    Raises:
        StructureError: the players are not single weights.
    """
    if players.granularity != "weight":
        raise StructureError(
            f"allocation 'neuron' is of the single weights that enter a neuron, and the players are "
            f"{players.granularity}s; use granularity='weight', or allocation 'uniform'"
        )
    scores = torch.nan_to_num(scores.detach().double().cpu(), nan=-torch.inf)
    out = torch.zeros(players.count, dtype=torch.float64)
    for layer in players.layers:
        weight = players.model.get_parameter(layer.name)
        module = players.model.get_submodule(layer.name.rpartition(".")[0])
        axis = 1 if isinstance(module, TRANSPOSED) else 0
        rows = scores[layer.start : layer.stop].view(weight.shape).movedim(axis, 0)
        flat = rows.reshape(len(rows), -1)
        order = torch.sort(flat, dim=1, descending=True, stable=True).indices.flip(1)
        quantiles = (torch.arange(flat.shape[1], dtype=torch.float64) + 0.5) / flat.shape[1]
        ranks = torch.zeros_like(flat).scatter_(1, order, quantiles.expand_as(flat))
        out[layer.start : layer.stop] = ranks.view(rows.shape).movedim(0, axis).flatten()
    return out
