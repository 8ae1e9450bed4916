"""A budget in milliseconds, met by measurement on this device.

Before training, a latency table makes milliseconds a resource like any other, so that a market charges each player
what its layer's width costs on this device. The table is a prediction; at the cut the network itself is timed, and what
the table may add up to is moved until the measured time lies just below the limit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree

from ..errors import BudgetError
from ..measure import breakdown, compare_latency, latency_table, timings_of
from ..measure.operators import Timing, Timings, quietest
from ..partition import Players

CLOSE = 0.95  # of the limit: what is slower than this and within the limit is as asked
AIM = 0.98
ATTEMPTS = 10
DEAREST = 3  # layers that are named
STEP = 0.002  # of the target: a search that moves by less has ended

Measured = dict[str, Any]
"""A table's measurements, as JSON."""


@dataclass
class Clock:
    """How long a network takes: its share of the dense network's time, measured beside it in turns, times what that
    took when the machine was quiet. Others on the machine slow both.

    Attributes:
        limit_ms: what was asked for.
        inputs: one batch.
        dense: the network that was cut; dense_ms: what it takes.
    """

    limit_ms: float
    inputs: Any
    dense: nn.Module
    dense_ms: float

    def __call__(self, model: nn.Module) -> float:
        return self.dense_ms * share(model, self.dense, self.inputs)


def share(model: nn.Module, dense: nn.Module, inputs: Any) -> float:
    """What part of the dense network's time a network takes."""

    def timed() -> Timing:
        ratio = compare_latency({"dense": dense, "cut": model}, inputs, seconds=5.0).speedup["cut"]
        return 1 / ratio.median, 1 / ratio.q75, 1 / ratio.q25

    return quietest(timed)[0]


def one_example(inputs: Any) -> Any:
    """The first example of a batch."""
    return _pytree.tree_map(lambda v: v[:1] if isinstance(v, torch.Tensor) and v.dim() else v, inputs)


def price(players: Players, limit_ms: float, inputs: Any, known: Measured | None = None) -> Measured:
    """Make latency a resource of these players, one thread.

    Args:
        limit_ms: what will be asked for.
        inputs: one batch of the size that is meant.
        known: measurements of an earlier run, which are taken instead of new ones.
    Returns:
        the measurements.
    Raises:
        BudgetError: the dense network is fast enough already, or even every layer at its minimum is too slow.
    """
    if players.granularity == "weight":
        raise BudgetError(
            "granularity 'weight' frees no milliseconds, since zeros are multiplied like any number; prune channels"
        )
    timings, whole = timings_of(players.model), None
    if known is not None:
        timings, whole = Timings(players.device), tuple(known["whole_ms"])
        timings.known = {key: tuple(values) for key, values in known["timings"].items()}
    table = latency_table(players.model, players.structure, inputs, timings=timings, whole_ms=whole)  # type: ignore[arg-type]
    if limit_ms >= table.whole_ms[0]:
        raise BudgetError(
            f"budget latency={limit_ms:g}ms: the dense network already takes {table.whole_ms[0]:.3g} ms on this device"
        )
    players.add_resource("latency", table.terms)
    players.require_reachable({"latency": limit_ms}, {"latency": limit_ms})
    return {"whole_ms": list(table.whole_ms), "timings": {key: list(value) for key, value in table.timings.items()}}


def tighten(targets: dict[str, float], build: Callable[[], nn.Module], clock: Clock) -> dict[str, float]:
    """Move ``targets['latency']`` in place until the network that ``build`` returns takes at most the limit, and hardly
    less. Where none does, it ends at the fastest, with a warning: what was trained is not lost for a few microseconds.

    Returns:
        the targets, which processes that did not measure must take over.
    """
    limit_ms = clock.limit_ms
    low, high = 0.0, float("inf")
    tried: list[tuple[float, float]] = []
    for _ in range(ATTEMPTS):
        target = targets["latency"]
        try:
            taken = clock(build())
        except BudgetError:  # below what the table holds reachable
            break
        tried.append((taken, target))
        if CLOSE * limit_ms <= taken <= limit_ms:
            return targets
        low, high = (max(low, target), high) if taken <= limit_ms else (low, min(high, target))
        wish = target * min(max(AIM * limit_ms / taken, 0.5), 2.0)
        if not low < wish < high:
            wish = 0.5 * (low + high) if high < float("inf") else wish
        if abs(wish - target) < STEP * target:
            break
        targets["latency"] = wish
    if low:
        targets["latency"] = low
        return targets
    nearest, targets["latency"] = min(tried)
    warnings.warn(
        f"budget latency={limit_ms:g}ms: the fastest of the cuts that were tried takes {nearest:.3g} ms on this "
        "device, and is what you get; ask for a little more",
        stacklevel=2,
    )
    return targets


def not_faster(dense_ms: float, pruned_ms: float, model: nn.Module, inputs: Any, threads: int = 1) -> str | None:
    """That a pruned network is hardly faster than the dense one, in words, with the layers that cost the time."""
    if pruned_ms < CLOSE * dense_ms:
        return None
    spent = breakdown(model, inputs, threads=threads)
    rest = pruned_ms - sum(ms for _, ms in spent)
    parts = [f"{path or type(model).__name__} {ms:.3g} ms" for path, ms in spent[:DEAREST]]
    if len(spent) > DEAREST:
        parts.append(f"{len(spent) - DEAREST} others {sum(ms for _, ms in spent[DEAREST:]):.3g} ms")
    if rest > 0:
        parts.append(f"{rest:.3g} ms between operators, which no cut saves")
    return (
        f"the pruned network is not faster on this device: {pruned_ms:.3g} against {dense_ms:.3g} ms. "
        f"Its time goes to {', '.join(parts)}"
    )


def file_of(folder: Path) -> Path:
    """Where a run keeps the measurements, so that it is the same when it is resumed."""
    return folder / "latency.json"
