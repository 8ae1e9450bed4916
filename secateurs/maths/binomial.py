"""Exact tests and intervals for counts of successes (Clopper & Pearson 1934): no normal approximation.

X ~ Binomial(n, p). Everything is made of the probabilities of single counts, formed in log space.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np


def interval(hits: int, trials: int, level: float = 0.99) -> tuple[float, float]:
    """The p that the count does not contradict: each end is where a tail of Binomial(trials, p) is (1 − level)/2.

    It covers the true p with probability at least ``level``.

    Raises:
        ValueError: a count outside 0 … trials, no trials, or a level outside (0, 1).
    """
    _check(hits, trials)
    if not 0 < level < 1:
        raise ValueError(f"level {level:g}: must be between 0 and 1")
    tail = (1.0 - level) / 2.0
    low = 0.0 if hits == 0 else _root(lambda p: at_least(hits, trials, p) > tail)
    high = 1.0 if hits == trials else _root(lambda p: at_most(hits, trials, p) < tail)
    return low, high


def p_value(hits: int, trials: int, p: float) -> float:
    """Probability, under p, of a count that is no more likely than this one: the exact two-sided test."""
    _check(hits, trials)
    logs = _log_probabilities(trials, p)
    # The tolerance keeps the mirror image of the count in, which rounding may put a bit above.
    return float(min(1.0, np.exp(logs[logs <= logs[hits] + 1e-7]).sum()))


def at_most(hits: int, trials: int, p: float) -> float:
    """P[X ≤ hits]."""
    return float(min(1.0, np.exp(_log_probabilities(trials, p)[: hits + 1]).sum()))


def at_least(hits: int, trials: int, p: float) -> float:
    """P[X ≥ hits]."""
    return float(min(1.0, np.exp(_log_probabilities(trials, p)[hits:]).sum()))


def _log_probabilities(trials: int, p: float) -> np.ndarray:
    """log P[X = 0, 1, …, trials]."""
    counts = np.arange(trials + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        up = np.where(counts == 0, 0.0, counts * np.log(np.float64(p)))
        down = np.where(counts == trials, 0.0, (trials - counts) * np.log1p(-np.float64(p)))
    return _log_choices(trials) + up + down


@lru_cache(maxsize=8)
def _log_choices(trials: int) -> np.ndarray:
    """log C(trials, 0 … trials); kept, for it is most of the work of finding an interval's ends."""
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    return factorials[-1] - factorials - factorials[::-1]


def _root(above) -> float:
    """Where a condition that is false at 0 and true at 1 begins to hold, to the last bit but few."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if above(middle) else (middle, high)
    return high


def _check(hits: int, trials: int) -> None:
    if trials < 1 or not 0 <= hits <= trials or not math.isfinite(hits):
        raise ValueError(f"{hits} hits in {trials} trials: must be 0 … trials, and at least one trial")
