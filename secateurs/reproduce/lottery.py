"""Reproduction of *The Lottery Ticket Hypothesis* (Frankle & Carbin 2019) on LeNet-300-100, and its controls.

1. Iterative magnitude pruning with rewinding: accuracy and the iteration of early stopping against the share of weights
   remaining; the same masks with fresh weights, random masks, one-shot masks, and rewinding to a later step
   (Frankle et al. 2020).
2. What the paper claims of it, beside ours.

As in the paper: Gaussian Glorot weights, Adam 1.2e-3, batch 60, 20% of every layer's weights a round and 10% of the
output layer's, early stopping at the smallest validation loss. Trainings are far shorter than its 50,000 iterations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .cells import Cell, Result
from .chains import run_chain

MODEL = "zoo:lenet-300-100-glorot"
KINDS: dict[str, Callable[..., Result]] = {"chain": run_chain}
FULL: dict[str, Any] = {
    "model": MODEL, "steps": 2500, "every": 100, "batch_size": 60, "lr": 1.2e-3, "rounds": 15,
    "controls": [3, 5, 7, 9, 15],
}  # fmt: skip
QUICK: dict[str, Any] = {**FULL, "steps": 60, "every": 20, "rounds": 3, "controls": [3], "limit": 4000}
LATE = 100  # the step that late rewinding goes back to
LATE_QUICK = 10
AT = 7  # rounds that leave 21%


def cells_of(data: str, seeds: int, quick: bool) -> list[Cell]:
    """For every seed the chain from the initial weights with its controls, and the chain from a later step."""
    common = {"data": data, **(QUICK if quick else FULL)}
    late = {**common, "controls": [], "rewind": LATE_QUICK if quick else LATE}
    return [Cell("chain", s, seed) for s in ({**common, "rewind": 0}, late) for seed in range(seeds)]
