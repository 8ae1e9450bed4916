"""The price that clears a market: the root of a decreasing excess demand.

The multiplier of a projection onto a budget is such a price. It is bracketed by doubling from the last price,
then found by regula falsi with Anderson and Björck's correction: superlinear where demand is smooth, safe where it
has kinks (participations that reach 0 or 1).
"""

from __future__ import annotations

from collections.abc import Callable


def clear(
    excess: Callable[[float], float], guess: float = 1.0, *, tolerance: float = 0.0, iterations: int = 60
) -> float:
    """Smallest price ≥ 0 at which ``excess(price) ≤ 0``, to within ``tolerance`` of zero excess.

    Args:
        excess: demand minus supply, non-increasing in the price.
        guess: where to start looking; the previous step's price is a good one.
        tolerance: stop once ``−tolerance ≤ excess ≤ 0``.
        iterations: bound on evaluations, bracketing included.
    Returns:
        a price from the feasible side of the root: excess there is ≤ 0 unless no price clears the market,
        in which case the largest price tried is returned.
    """
    at_zero = excess(0.0)
    if at_zero <= 0:
        return 0.0
    low, f_low = 0.0, at_zero
    high = guess if guess > 0 else 1.0
    f_high = excess(high)
    used = 2
    while f_high > 0 and used < iterations:
        low, f_low = high, f_high
        high *= 2.0
        f_high = excess(high)
        used += 1
    if f_high > 0:
        return high
    # Aiming half a tolerance below zero makes the accepted band two-sided, so either end may hit it.
    aim = 0.5 * tolerance
    g_low, g_high, moved = f_low + aim, f_high + aim, 0
    while used < iterations and not -tolerance <= f_high <= 0 and high - low > 1e-15 * high:
        price = high - g_high * (high - low) / (g_high - g_low)
        if not low < price < high:
            price = 0.5 * (low + high)
        value = excess(price)
        used += 1
        # Anderson & Björck: when the same end moves twice running, the other end's weight shrinks.
        if value > 0:
            g_high *= _shrink(value + aim, g_low) if moved < 0 else 1.0
            low, g_low, moved = price, value + aim, -1
        else:
            g_low *= _shrink(value + aim, g_high) if moved > 0 else 1.0
            high, f_high, g_high, moved = price, value, value + aim, 1
    return high


def _shrink(new: float, old: float) -> float:
    factor = 1.0 - new / old if old else 0.5
    return factor if factor > 0 else 0.5
