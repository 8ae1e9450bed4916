"""A budget in milliseconds, met by measurement on this device.

Latency is not a sum over layers that a market could charge, so it is converted: copies cut uniformly to several sizes
are timed, which gives the MACs that fit; at the cut the network itself is timed, and the MACs are tightened
until it holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..errors import BudgetError
from ..measure import latency
from ..partition import Players
from ..spec import Budget
from ..structure import shrink

SIZES = (0.7, 0.45, 0.25, 0.1)
MARGIN = 0.97  # aim a little below, since the network that is found is no uniform one
ATTEMPTS = 8


def milliseconds(model: nn.Module, inputs: Any, threads: int = 1) -> float:
    """Median latency of one batch."""
    return latency(model, inputs, threads=threads).median_ms


def uniform_copy(players: Players, fraction: float) -> nn.Module:
    """The model with every layer cut, as its limits allow, to about ``fraction`` of its width (weights arbitrary)."""
    mask = players.atom_mask(_uniform_mask(players, fraction))
    return shrink(copy.deepcopy(players.model), players.structure, mask, inplace=True, check=False).model


def macs_for(players: Players, limit_ms: float, inputs: Any, threads: int = 1) -> float:
    """MACs at which a uniformly cut network takes ``limit_ms``.

    Raises:
        BudgetError: even every layer at its minimum is too slow; or the dense network is already fast enough.
    """
    rounded = players.auto
    try:
        return _macs_for(players, limit_ms, inputs, threads)
    finally:
        # Whether 'auto' must give way is settled by the MACs, which a resumed run has without measuring.
        players.round_auto_to(rounded)


def _macs_for(players: Players, limit_ms: float, inputs: Any, threads: int) -> float:

    def point(fraction: float) -> tuple[float, float]:
        taken = milliseconds(uniform_copy(players, fraction), inputs, threads)
        return players.amount("macs", _uniform_mask(players, fraction)), taken

    dense, least = point(1.0), point(0.0)
    if limit_ms >= dense[1]:
        raise BudgetError(
            f"budget latency={limit_ms:g}ms: the dense network already takes {dense[1]:.3g} ms on this device"
        )
    while limit_ms < least[1] and players.give_way():
        least = point(0.0)
    if limit_ms < least[1]:
        rounded = max(layer.multiple for layer in players.layers) > 1
        raise BudgetError(
            f"budget latency={limit_ms:g}ms cannot be reached: with every layer at its minimum width the network "
            f"takes {least[1]:.3g} ms on this device"
            + ("; a smaller round_to lets layers be narrower" if rounded else "")
        )
    points = [dense, *map(point, SIZES), least]
    for (more, slow), (fewer, fast) in zip(points, points[1:]):
        if fast <= limit_ms <= slow:
            share = (limit_ms - fast) / max(slow - fast, 1e-9)
            return fewer + share * (more - fewer)
    return points[-1][0]


def _uniform_mask(players: Players, fraction: float) -> torch.Tensor:
    keep = torch.zeros(players.count, dtype=torch.bool)
    for unit in players.units:
        for layer in (players.layers[i] for i in unit.layers):
            keep[layer.start : layer.start + unit.nearest(round(fraction * layer.size))] = True
    return keep


def without_latency(budget: Budget, players: Players, inputs: Any) -> Budget:
    """The same budget with milliseconds replaced by the MACs that take that long."""
    if budget.latency is None:
        return budget
    macs = MARGIN * macs_for(players, budget.latency, inputs)
    given = {k: v for k, v in budget.given.items() if k != "latency"}
    if "macs" in given:
        macs = min(macs, budget.targets({**{k: players.amount(k) for k in given}})["macs"])
    return Budget(**{**given, "macs": max(macs, 2.0)})


def tighten(
    targets: dict[str, float], build: Callable[[], nn.Module], limit_ms: float, inputs: Any
) -> dict[str, float]:
    """Lower ``targets['macs']`` in place until the network that ``build`` returns for them takes ``limit_ms``.

    Returns:
        the targets, which processes that did not measure must take over.
    Raises:
        BudgetError: eight attempts did not get there; says how near they came.
    """
    taken = float("inf")
    for _ in range(ATTEMPTS):
        taken = milliseconds(build(), inputs)
        if taken <= limit_ms:
            return targets
        targets["macs"] *= 0.97 * limit_ms / taken
    raise BudgetError(f"budget latency={limit_ms:g}ms: {ATTEMPTS} cuts reached {taken:.3g} ms; ask for a little more")
