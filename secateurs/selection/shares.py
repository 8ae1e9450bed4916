"""Allocation in proportion to given shares: Erdős–Rényi densities, or the user's own.

Layer l is to keep the density d_l = min(1, ε·r_l), with ε whatever the budget allows. A player whose quantile in its
layer is q, counted from the bottom, stays just when 1 − q ≤ ε·r_l. So −(1 − q)/r_l is a priority under which an exact
cut gives these densities at any budget, and a layer that is full at ε stays full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import StructureError
from ..partition import Layer, Players, matching
from ..shapes import PerPlayer
from ..structure.naming import place
from .uniform import within_layers


def erk(players: Players, scores: PerPlayer) -> PerPlayer:
    """Densities in proportion to r_l = (sum of the dimensions) / (their product) of the weight that makes a layer
    (Erdős–Rényi-Kernel, Evci et al. 2020): for a convolution (n_in + n_out + k_h + k_w)/(n_in·n_out·k_h·k_w). Several
    weights that make one layer count by their mean.

    Args:
        scores: ``(players,)``, higher = keep; ties and NaN as in :func:`within_layers`.
    Raises:
        StructureError: a layer that no weight makes, such as one of blocks.
    """
    return _proportional(players, scores, [_erdos_renyi(players, layer) for layer in players.layers])


def by_shares(players: Players, scores: PerPlayer, shares: Mapping[str, float]) -> PerPlayer:
    """Densities in proportion to given numbers.

    Args:
        scores: ``(players,)``, higher = keep; ties and NaN as in :func:`within_layers`.
        shares: by layer, name or pattern; the later one holds. Layers that none names have 1.
    Raises:
        StructureError: a name or pattern that matches nothing; gives the nearest.
    """
    ratios = [1.0] * len(players.layers)
    for pattern, share in shares.items():
        for i in matching(players.layers, pattern):
            ratios[i] = share
    return _proportional(players, scores, ratios)


def parse_shares(texts: Sequence[str]) -> dict[str, float]:
    """Read ``fc1=0.2``.

    Raises:
        ValueError: a text that is not of that form, or a share that is no positive number.
    """
    out: dict[str, float] = {}
    for text in texts:
        pattern, _, number = text.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not pattern.strip() or not (math.isfinite(share) and share > 0):
            raise ValueError(f"share {text!r}: write LAYER=NUMBER with a positive number, such as fc1=0.2")
        out.pop(pattern.strip(), None)  # the later one holds, in its place
        out[pattern.strip()] = share
    return out


def _proportional(players: Players, scores: PerPlayer, ratios: Sequence[float]) -> PerPlayer:
    ratio = torch.tensor(ratios, dtype=torch.float64)[players.layer_of.cpu()]
    return (within_layers(players, scores).double() - 1) / ratio


def _erdos_renyi(players: Players, layer: Layer) -> float:
    weights = _making(players, layer)
    if not weights:
        raise StructureError(
            f"allocation 'erk' goes by the dimensions of the weight that makes a layer, and nothing of two or more "
            f"dimensions makes {layer.name!r} ({layer.kind}s); take allocation 'global' or 'uniform'"
        )
    return sum(sum(w.shape) / w.numel() for w in weights) / len(weights)


def _making(players: Players, layer: Layer) -> list[Tensor]:
    """The weights whose output the layer is; at weight granularity, the one that it is."""
    if layer.kind == "weight":
        return [players.model.get_parameter(layer.name)]
    named = dict(players.model.named_parameters(remove_duplicate=False))
    made = {
        name: named[name]
        for name, axis in players.structure.axes
        if name in named and named[name].dim() > 1 and _makes(players, layer, name, axis)
    }
    return list(made.values())


def _makes(players: Players, layer: Layer, name: str, axis: int) -> bool:
    where = place(players.model, name, axis, 2)
    return where in layer.tied_to and where.endswith(("[out]", "[width]", "[0]"))
