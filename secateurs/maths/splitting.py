"""Where a set of numbers falls apart into a low and a high part (Otsu 1979), exactly.

Of all splits of the sorted values the one between two classes of sizes n_0, n_1 and means μ_0, μ_1 with the largest

    n_0·n_1·(μ_1 − μ_0)²

is taken: the least variance is left within the classes. No histogram: every gap between two values is tried.
"""

from __future__ import annotations

import numpy as np


def otsu(values: np.ndarray) -> float:
    """The middle of the gap at which the values are split best, ``values < result`` being the low part.

    Where all are equal nothing is low, and they are returned. O(n·log n).

    Raises:
        ValueError: there are no values.
    """
    if not values.size:
        raise ValueError("no values to split")
    ranked = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if ranked[0] == ranked[-1]:
        return float(ranked[0])
    low = np.arange(1, ranked.size, dtype=np.float64)
    high = ranked.size - low
    sums = np.cumsum(ranked)
    below, above = sums[:-1] / low, (sums[-1] - sums[:-1]) / high
    between = low * high * (above - below) ** 2
    between[ranked[1:] == ranked[:-1]] = -1.0  # equal values stay together
    at = int(np.argmax(between))
    middle = 0.5 * (ranked[at] + ranked[at + 1])
    return float(middle if middle > ranked[at] else ranked[at + 1])
