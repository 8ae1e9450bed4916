"""Layer-wise rounds: in every round each layer loses the same share of what it still has, some layers a smaller one.

Of a layer of n players that loses the share c·α a round, ⌊n·(1 − c·α)^l⌋ stay after l rounds (Frankle & Carbin 2019:
α = 0.2, and c = ½ for the output layer). Counts are rounded down once, from the dense width, so that rounding never
adds up over rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ..partition import Players
from ..shapes import PerPlayer

_HALVINGS = 60  # of an interval of length 1: past what float64 can tell apart


def layer_counts(players: Players, alpha: float, rounds: int, factors: Sequence[float]) -> np.ndarray:
    """``(layers,)`` how many stay in each layer, ⌊n·(1 − c·α)^rounds⌋, at least its minimum."""
    shares = (1 - alpha * np.asarray(factors)) ** rounds
    return np.maximum(np.floor(players.sizes * shares + 1e-9), players.minimum)


def round_rate(players: Players, targets: Mapping[str, float], rounds: int, factors: Sequence[float]) -> float:
    """The smallest α with which ``rounds`` rounds meet every target.

    Args:
        targets: absolute amounts by resource. factors: c of every layer, 0 to 1.
    Raises:
        BudgetError: even every layer at its minimum is too much.
    """
    players.require_reachable(targets)

    def fits(alpha: float) -> bool:
        counts = layer_counts(players, alpha, rounds, factors)
        return all(players.resource(n).amount(counts) <= t * (1 + 1e-9) for n, t in targets.items())

    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def layerwise(players: Players, scores: PerPlayer, alpha: float, factors: Sequence[float]) -> PerPlayer:
    """A priority under which a cut takes from every layer what rounds at this α would: how many rounds a player
    outlives.

    The r-th best of n players stays as long as r ≤ n·(1 − c·α)^l, for l up to log(r/n)/log(1 − c·α) rounds.

    Args:
        scores: ``(players,)``, higher = keep; ties and NaN as in ``fit_budget``: the lower index stays, NaN is lowest.
    """
    scores = torch.nan_to_num(scores.detach().double().cpu(), nan=-torch.inf)
    outlived = torch.zeros(players.count, dtype=torch.float64)
    for layer, factor in zip(players.layers, factors):
        order = torch.sort(scores[layer.start : layer.stop], descending=True, stable=True).indices
        share = torch.arange(1, layer.size + 1, dtype=torch.float64) / layer.size
        decay = float(np.log1p(-min(alpha * factor, 1 - 1e-12)))
        outlived[layer.start + order] = share.log() / decay if decay < 0 else torch.inf
    return outlived
