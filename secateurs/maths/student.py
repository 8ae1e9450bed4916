"""Student's t for pairs: whether two methods that ran on the same seeds differ by more than the seeds do.

t = d̄·√n/s_d of the differences d, with n − 1 degrees of freedom. Where these are a whole number ν, the probability of
|t| or less is a finite sum of powers of cos θ, θ = atan(t/√ν) (Abramowitz & Stegun, 26.7.3 and 26.7.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev


def student_p(t: float, freedom: int) -> float:
    """Two-sided probability of a value as far from 0 as ``t``, with ``freedom`` ≥ 1 degrees of freedom."""
    theta = math.atan(abs(t) / math.sqrt(freedom))
    cosine, term = math.cos(theta), 1.0
    if freedom % 2:
        term, total = cosine, 0.0 if freedom == 1 else cosine
        for k in range(3, freedom - 1, 2):
            term *= cosine**2 * (k - 1) / k
            total += term
        within = 2 / math.pi * (theta + math.sin(theta) * total)
    else:
        total = 1.0
        for k in range(2, freedom - 1, 2):
            term *= cosine**2 * (k - 1) / k
            total += term
        within = math.sin(theta) * total
    return max(0.0, 1 - within)


def paired_t(left: Sequence[float], right: Sequence[float]) -> tuple[float, float]:
    """Mean of left − right, and the two-sided p-value of its being 0; NaN for fewer than two pairs.

    Raises:
        ValueError: unequal lengths.
    """
    if len(left) != len(right):
        raise ValueError(f"{len(left)} values cannot be paired with {len(right)}")
    differences = [a - b for a, b in zip(left, right)]
    if len(differences) < 2:
        return mean(differences), math.nan
    middle, spread = mean(differences), stdev(differences)
    if spread == 0:
        return middle, 1.0 if middle == 0 else 0.0
    return middle, student_p(middle * math.sqrt(len(differences)) / spread, len(differences) - 1)


def critical_t(p: float, freedom: int) -> float:
    """The t that is exceeded, to either side, with probability ``p``, 0 < p < 1: the inverse of :func:`student_p`."""
    high = 1.0
    while student_p(high, freedom) > p:
        high *= 2
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_p(middle, freedom) > p else (low, middle)
    return high


def paired_interval(left: Sequence[float], right: Sequence[float], p: float = 0.05) -> tuple[float, float]:
    """Where the mean of left − right lies with confidence 1 − p; NaN for fewer than two pairs.

    Raises:
        ValueError: unequal lengths.
    """
    gain, _ = paired_t(left, right)
    if len(left) < 2:
        return math.nan, math.nan
    error = stdev([a - b for a, b in zip(left, right)]) / math.sqrt(len(left))
    half = critical_t(p, len(left) - 1) * error
    return gain - half, gain + half
