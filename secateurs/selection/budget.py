"""The exact cut: who stays, when resources are limited.

Players leave in order of their priority, lowest first, ties by index (the lower index stays), until every budget
holds; no layer falls below its minimum. Since leaving one wide layer may overshoot, those that still
fit are then taken back, highest priority first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ..partition import Players
from ..shapes import Mask, PerPlayer


def top_k(priority: Tensor, k: int) -> Tensor:
    """Mask of the k largest, exactly k, ties by lower index."""
    order = torch.sort(priority, descending=True, stable=True).indices
    mask = torch.zeros_like(priority, dtype=torch.bool)
    mask[order[:k]] = True
    return mask


def fit_budget(players: Players, priority: PerPlayer, targets: Mapping[str, float]) -> Mask:
    """The mask of the highest-priority players that fits every target.

    Args:
        priority: ``(players,)``, higher = keep; NaN counts as lowest.
        targets: absolute amounts by resource ('groups', 'params', 'macs', 'bytes').
    Raises:
        BudgetError: even every layer at its minimum is too much; names the smallest reachable amount.
    """
    priority = torch.nan_to_num(priority.detach().double().cpu(), nan=-torch.inf)
    layer_of = players.layer_of.cpu()
    protected = torch.zeros(players.count, dtype=torch.bool)
    for layer in players.layers:
        span = slice(layer.start, layer.stop)
        protected[span] = top_k(priority[span], layer.minimum)
    least = players.minimum
    players.require_reachable(targets)
    order = torch.sort(priority, descending=True, stable=True).indices
    order = order[~protected[order]]
    queue = layer_of[order].numpy()

    def mass_of(taken: int) -> np.ndarray:
        return least + np.bincount(queue[:taken], minlength=len(players.layers))

    def fits(mass_of_layers: np.ndarray) -> bool:
        return all(players.resource(n).amount(mass_of_layers) <= t * (1 + 1e-9) for n, t in targets.items())

    low, high = (
        0,
        len(order),
    )  # the amount grows with every player taken, so the longest prefix that fits is found by halving
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(mass_of(middle)) else (low, middle - 1)
    keep = protected.clone()
    keep[order[:low]] = True
    _take_back(keep, order[low:], layer_of, mass_of(low), fits)
    return keep.to(players.device)


def _take_back(
    keep: Mask, rest: Tensor, layer_of: Tensor, mass: np.ndarray, fits: Callable[[np.ndarray], bool]
) -> None:
    """Add, in order of priority, whoever still fits. A layer that is too dear once stays too dear."""
    closed: set[int] = set()
    for player in rest.tolist():
        layer = int(layer_of[player])
        if layer in closed:
            continue
        mass[layer] += 1
        if fits(mass):
            keep[player] = True
        else:
            mass[layer] -= 1
            closed.add(layer)
            if len(closed) == len(mass):
                return
