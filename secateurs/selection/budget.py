"""The exact cut: who stays, when resources are limited.

Players leave in order of their priority, lowest first, ties by index (the lower index stays), until every budget
holds; no layer falls below its minimum. Where a layer keeps a multiple, its players leave in chunks of that many, by
the mean priority of a chunk; tied layers leave together, their i-th best chunks as one. Since leaving one wide layer
may overshoot, those that still fit are then taken back, highest priority first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..partition import Players
from ..shapes import Mask, PerPlayer
from .top import top_k


def fit_budget(players: Players, priority: PerPlayer, targets: Mapping[str, float]) -> Mask:
    """The mask of the highest-priority players that fits every target and every limit.

    Args:
        priority: ``(players,)``, higher = keep; NaN counts as lowest.
        targets: absolute amounts by resource ('groups', 'params', 'macs', 'bytes').
    Raises:
        BudgetError: even every layer at its minimum is too much; names the smallest reachable amount.
    """
    players.require_reachable(targets)
    if (alike := _alike(players, priority, targets)) is not None:
        return alike
    priority = torch.nan_to_num(priority.detach().double().cpu(), nan=-torch.inf)
    queue = _queue(players, priority.numpy())
    unit_of = np.empty(len(players.layers), dtype=int)
    for number, unit in enumerate(players.units):
        unit_of[list(unit.layers)] = number
    least = np.array([unit.least for unit in players.units], dtype=float)

    def counts_of(taken: int) -> np.ndarray:
        return least + np.bincount(queue.unit[:taken], queue.size[:taken], minlength=len(least))

    def fits(counts: np.ndarray) -> bool:
        mass = counts[unit_of]
        return all(players.resource(n).amount(mass) <= t * (1 + 1e-9) for n, t in targets.items())

    # The amount grows with every chunk taken, so the longest prefix that fits is found by halving.
    low, high = 0, len(queue.unit)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(counts_of(middle)) else (low, middle - 1)
    counts = counts_of(low)
    _take_back(counts, queue, low, fits)
    keep = torch.zeros(players.count, dtype=torch.bool)
    for layer, number in zip(players.layers, unit_of):
        keep[layer.start : layer.stop] = top_k(priority[layer.start : layer.stop], int(counts[number]))
    return keep.to(players.device)


def _alike(players: Players, priority: PerPlayer, targets: Mapping[str, float]) -> Mask | None:
    """Where all players cost the same and may leave one by one, as single weights do, the k highest. None where they
    do not, or where a layer would fall below its minimum."""
    resources = [players.resource(name) for name in targets]
    if not all(unit.free for unit in players.units) or not all(r.uniform for r in resources):
        return None
    rooms = []
    for resource, target in zip(resources, targets.values()):
        nothing = np.zeros(len(players.layers))
        each = resource.marginal(nothing)[0]
        rooms.append((target * (1 + 1e-9) - resource.amount(nothing)) / each)
    k = min(players.count, math.floor(min(rooms)))
    keep = top_k(priority.detach(), k).to(players.device)
    held = [int(keep[layer.start : layer.stop].count_nonzero()) for layer in players.layers]
    return keep if all(n >= layer.minimum for n, layer in zip(held, players.layers)) else None


@dataclass(frozen=True)
class _Queue:
    """Chunks beyond every layer's minimum, highest priority first: whose they are, and of how many players a layer."""

    unit: np.ndarray
    size: np.ndarray


def _queue(players: Players, priority: np.ndarray) -> _Queue:
    unit, size, worth = [], [], []
    for number, found in enumerate(players.units):
        steps = np.diff(found.counts)
        means = np.zeros(len(steps))
        for layer in (players.layers[i] for i in found.layers):
            ranked = np.sort(priority[layer.start : layer.stop])[::-1][found.counts[0] : found.counts[-1]]
            if len(found.layers) == 1 and len(steps) == len(ranked):  # one by one: each is its own chunk
                means = ranked
            elif len(steps):
                means += np.add.reduceat(ranked / np.repeat(steps, steps), found.counts[:-1] - found.counts[0])
        unit.append(np.full(len(steps), number))
        size.append(steps)
        # Rounding in the means must not put a chunk before a better one of its own layer.
        worth.append(np.minimum.accumulate(means / len(found.layers)))
    order = np.argsort(-np.concatenate(worth), kind="stable")
    return _Queue(np.concatenate(unit)[order], np.concatenate(size)[order])


def _take_back(counts: np.ndarray, queue: _Queue, start: int, fits: Callable[[np.ndarray], bool]) -> None:
    """Add, in order of priority, whoever still fits. A layer that is too dear once stays too dear."""
    closed: set[int] = set()
    for unit, size in zip(queue.unit[start:].tolist(), queue.size[start:].tolist()):
        if unit in closed:
            continue
        counts[unit] += size
        if not fits(counts):
            counts[unit] -= size
            closed.add(unit)
            if len(closed) == len(counts):
                return
