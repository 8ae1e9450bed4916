"""How much is left after rounds that each remove a share of what remains: (1 − α)^S, and in whole numbers.

Every round removes ⌊α·n⌋ or ⌈α·n⌉ of the n that remain. α is read as the decimal number it is written as: with binary
arithmetic 0.29·100 is 28.999… and its floor one too few.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

Rounding = Literal["floor", "ceil"]


def density_after(share: float, rounds: int) -> float:
    """(1 − α)^S, the fraction left.

    Raises:
        ValueError: the share is not within [0, 1], or fewer than 0 rounds.
    """
    _check(share, rounds)
    return (1.0 - share) ** rounds


def rounds_to(density: float, share: float) -> int:
    """The fewest rounds after which no more than ``density`` is left: ⌈log(density)/log(1 − α)⌉.

    Raises:
        ValueError: the density is not within (0, 1], or the share not within (0, 1].
    """
    if not 0 < density <= 1:
        raise ValueError(f"density {density:g}: must be above 0 and at most 1")
    if not 0 < share <= 1:
        raise ValueError(f"share {share:g}: a round must remove more than nothing, and at most all")
    if density == 1:
        return 0
    if share == 1:
        return 1
    guess = max(0, math.ceil(math.log(density) / math.log1p(-share)) - 1)
    left, wanted = 1 - Fraction(str(share)), Fraction(str(density))
    while left**guess > wanted:  # the quotient of two logarithms may be off by its last bit
        guess += 1
    return guess


def left_after(total: int, share: float, rounds: int, rounding: Rounding = "floor") -> list[int]:
    """How many of ``total`` are left after 0, 1, …, ``rounds`` rounds.

    Args:
        rounding: of the number that a round removes. 'floor' stalls once α·n < 1, so that something always stays;
            'ceil' removes at least one in every round, down to none.
    Returns:
        ``rounds + 1`` counts. See :func:`deviation_bound` for how far they are from total·(1 − α)^S.
    Raises:
        ValueError: a negative total or number of rounds, or a share outside [0, 1].
    """
    _check(share, rounds)
    if total < 0:
        raise ValueError(f"total {total}: must not be negative")
    exact, cut = Fraction(str(share)), math.floor if rounding == "floor" else math.ceil
    out = [total]
    for _ in range(rounds):
        out.append(out[-1] - cut(exact * out[-1]))
    return out


def deviation_bound(share: float, rounds: int) -> float:
    """B with 0 ≤ n_S − total·(1 − α)^S ≤ B for 'floor', and −B ≤ … ≤ 0 for 'ceil'.

    A round leaves (1 − α)·n + δ with 0 ≤ δ < 1, and later rounds shrink what it added: B = Σ_{i<S} (1 − α)^i, which is
    (1 − (1 − α)^S)/α < 1/α whatever the total.
    """
    return float(rounds) if share == 0 else (1.0 - density_after(share, rounds)) / share


def _check(share: float, rounds: int) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"share {share:g}: must be within 0 and 1")
    if rounds < 0:
        raise ValueError(f"{rounds} rounds: must not be negative")
