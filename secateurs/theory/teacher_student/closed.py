"""What pruning costs in closed form: the error of a converged student of which nodes or edges are left.

Under assumptions (A1)–(A7) Z units learn each of M teacher units, alike and at v = v*/Z. ε is half the mean squared
error; k of K = Z·M nodes are as many parameters as a fraction c = k/K of the edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist


def dpp_node(k: float, M: int, Z: int, strength: float = 1.0, *, reweighted: bool = False) -> float:
    """Theorem 1, (5) and (6): v*²[k(1 − 1/Z)² + M − k]/6, and v*²(M − k)/6 reweighted.

    At most one unit of a group is left, k ≤ M of them; k need not be whole, as in the paper's Figure 4.

    Raises:
        ValueError: k outside 0 … M.
    """
    if not 0 <= k <= M:
        raise ValueError(f"k = {k:g} nodes: Theorem 1 is about 0 … M = {M}")
    left = 0.0 if reweighted else (1 - 1 / Z) ** 2
    return strength**2 / 6 * (k * left + M - k)


def nodes_left(counts: Sequence[int], Z: int, strength: float = 1.0, *, reweighted: bool = False) -> float:
    """Lemma 2: l_m units are left of the group of teacher unit m, v*²/6·Σ(1 − l_m/Z)².

    Reweighted, a group of which any unit is left costs nothing.
    """
    lost = [float(count == 0) if reweighted else (1 - count / Z) ** 2 for count in counts]
    return strength**2 / 6 * sum(lost)


def random_node(k: int, M: int, Z: int, strength: float = 1.0, *, reweighted: bool = False) -> float:
    """Lemma 2 in expectation over all subsets of k units, each as likely as another.

    How many of one group are left is hypergeometric, and the groups' costs add up.
    """
    total = math.comb(M * Z, k)
    chances = {j: math.comb(Z, j) * math.comb(M * Z - Z, k - j) / total for j in range(min(Z, k) + 1)}
    return M * sum(p * nodes_left([j], Z, strength, reweighted=reweighted) for j, p in chances.items())


def random_edge(c: float, M: int, Z: int, strength: float = 1.0, factor: float = 1.0) -> float:
    """Theorem 3, (10); (23) with the second layer times ``factor`` A.

    v*²M/π·[A²·(asin(c/(1+c))/Z + (1 − 1/Z)·asin(c²/(1+c))) + π/6 − 2A·asin(c/√(2(1+c)))]
    """
    own, cross = _edge_terms(c, Z)
    return M * strength**2 / math.pi * (factor**2 * own + math.pi / 6 - 2 * factor * cross)


def best_factor(c: float, Z: int) -> float:
    """The A of least error: (23) is a quadratic in it. 1 where c = 0 and nothing is left to scale."""
    own, cross = _edge_terms(c, Z)
    return cross / own if own else 1.0


def important_edge(c: float, M: int, strength: float = 1.0) -> float:
    """The largest \\|w\\| of every unit kept, a fraction c of N → ∞ Gaussian weights. Ours; the paper has no formula.

    Units of a group are alike, hence so are their masks, and both Q' and R' within a group are m = E[w²; \\|w\\| > τ]
    = c + 2τφ(τ), τ being the quantile that c of the weights exceed. Then (13) is
    v*²M/π·[asin(m/(1+m)) + π/6 − 2·asin(m/√(2(1+m)))].
    """
    m = kept_square(c)
    terms = math.asin(m / (1 + m)) + math.pi / 6 - 2 * math.asin(m / math.sqrt(2 * (1 + m)))
    return M * strength**2 / math.pi * terms


def kept_square(c: float) -> float:
    """E[w²; \\|w\\| > τ] of w ~ N(0, 1), where P(\\|w\\| > τ) = c."""
    if c <= 0 or c >= 1:
        return min(max(c, 0.0), 1.0)
    normal = NormalDist()
    tau = normal.inv_cdf(1 - c / 2)
    return c + 2 * tau * normal.pdf(tau)


def _edge_terms(c: float, Z: int) -> tuple[float, float]:
    """What stands beside A², and beside −2A, in (23)."""
    own = math.asin(c / (1 + c)) / Z + (1 - 1 / Z) * math.asin(c**2 / (1 + c))
    return own, math.asin(c / math.sqrt(2 * (1 + c)))


__all__ = ["best_factor", "dpp_node", "important_edge", "kept_square", "nodes_left", "random_edge", "random_node"]
