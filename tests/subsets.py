"""Every subset, by enumeration, and a test of draws against a law."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

import numpy as np
from scipy.stats import chi2, chi2_contingency

Subset = tuple[int, ...]


def subsets(n: int, k: int | None = None) -> list[Subset]:
    sizes = range(n + 1) if k is None else [k]
    return [s for size in sizes for s in itertools.combinations(range(n), size)]


def law(L: np.ndarray, k: int | None = None) -> dict[Subset, float]:
    """P(Y) ∝ det(L_Y), the sum taken over all subsets there are; nothing is diagonalised."""
    weights = {s: max(0.0, float(np.linalg.det(L[np.ix_(s, s)]))) if s else 1.0 for s in subsets(len(L), k)}
    total = sum(weights.values())
    return {s: w / total for s, w in weights.items()}


def included(chances: dict[Subset, float], n: int) -> list[float]:
    """P(i ∈ Y)."""
    return [sum(p for s, p in chances.items() if i in s) for i in range(n)]


def p_value(drawn: Iterable[Subset], chances: dict[Subset, float]) -> float:
    """Pearson's chi-square on counts, the rarest cells merged until none expects fewer than 5; 0 where the
    impossible was drawn.

    Every subset is a cell, so that a wrong law shows wherever it is wrong.
    """
    counts = Counter(drawn)
    total = sum(counts.values())
    if any(chances.get(s, 0.0) <= 1e-12 for s in counts):
        return 0.0
    cells = sorted(((total * chance, counts[subset]) for subset, chance in chances.items()), reverse=True)
    while len(cells) > 1 and cells[-1][0] < 5:
        (e, o), (e2, o2) = cells.pop(), cells.pop()
        cells.append((e + e2, o + o2))
    if len(cells) == 1:
        return 1.0
    e, o = np.array(cells).T
    return float(chi2.sf(((o - e) ** 2 / e).sum(), len(cells) - 1))


def same_law(left: Iterable[Subset], right: Iterable[Subset]) -> float:
    """The chi-square test of homogeneity of two samples of one size, the rarest cells merged as above."""
    counts = [Counter(left), Counter(right)]
    cells = sorted(((counts[0][s], counts[1][s]) for s in counts[0] | counts[1]), key=sum, reverse=True)
    while len(cells) > 1 and sum(cells[-1]) < 10:
        a, b = cells.pop(), cells.pop()
        cells.append((a[0] + b[0], a[1] + b[1]))
    return float(chi2_contingency(np.array(cells).T).pvalue)
