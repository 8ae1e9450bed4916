"""Finding a sparse truth by chance: does a threshold on random weights keep just the right ones?

d weights are drawn from N(0, σ²), k of them are the true support, and every |w| > t is kept. A weight is kept with
probability q = 2(1 − Φ(t/σ)), whatever it is, so the support is recovered exactly with

    p = [2(1 − Φ(t/σ))]^k · [2Φ(t/σ) − 1]^(d−k)                       (survey *lottery*, with a random start)

The best threshold keeps the right fraction, q = k/d, and then p = e^(−d·H(k/d)), H being the entropy of a coin with
bias k/d, in nats: the chance falls exponentially with the size of the network. Keeping exactly the k largest does a
little better, 1/C(d, k), since it never keeps a wrong number. All of it is done in logarithms: at d = 10⁶ there is no
floating-point number as small as p.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import torch


def log_kept(threshold: float, sigma: float = 1.0) -> float:
    """log q = log 2(1 − Φ(t/σ)), the chance that |w| > t."""
    z = torch.tensor(_z(threshold, sigma), dtype=torch.float64)
    return float(torch.special.log_ndtr(-z)) + math.log(2.0)


def log_cut(threshold: float, sigma: float = 1.0) -> float:
    """log(1 − q) = log(2Φ(t/σ) − 1)."""
    z = _z(threshold, sigma)
    if z == 0:
        return -math.inf
    return math.log(math.erf(z / math.sqrt(2.0))) if z < 1 else math.log1p(-math.erfc(z / math.sqrt(2.0)))


def log_recovery(threshold: float, support: int, total: int, sigma: float = 1.0) -> float:
    """log p that the kept set is the support.

    Args:
        threshold: t ≥ 0. support: k. total: d. sigma: standard deviation of the weights.
    Raises:
        ValueError: not 0 ≤ k ≤ d, a negative threshold, or a sigma that is not positive.
    """
    _check(support, total)
    kept = support * log_kept(threshold, sigma) if support else 0.0
    cut = (total - support) * log_cut(threshold, sigma) if total > support else 0.0
    return kept + cut


def best_threshold(support: int, total: int, sigma: float = 1.0) -> float:
    """The t at which recovery is most likely: q = k/d, so t = σ·Φ⁻¹(1 − k/2d). Infinite where k = 0.

    d/dq [k·log q + (d − k)·log(1 − q)] = k/q − (d − k)/(1 − q) vanishes there alone.
    """
    _check(support, total)
    if support == 0:
        return math.inf
    return max(0.0, -sigma * NormalDist().inv_cdf(support / (2 * total)))


def best_log_recovery(support: int, total: int) -> float:
    """log p at the best threshold: k·log(k/d) + (d − k)·log(1 − k/d) = −d·H(k/d)."""
    _check(support, total)
    rest = total - support
    return sum(n * math.log(n / total) for n in (support, rest) if n)


def log_recovery_by_count(support: int, total: int) -> float:
    """log 1/C(d, k): keeping exactly the k largest, when every set of k is as likely as another."""
    _check(support, total)
    return math.lgamma(support + 1) + math.lgamma(total - support + 1) - math.lgamma(total + 1)


def expected_overlap(threshold: float, support: int, total: int, sigma: float = 1.0) -> tuple[float, float]:
    """How many of the support are kept in the mean, k·q, and how many are kept in all, d·q.

    Their ratio is k/d at every threshold: of what a random start keeps, no more is right than of all weights.
    """
    _check(support, total)
    q = math.exp(log_kept(threshold, sigma))
    return support * q, total * q


def simulate(
    threshold: float, support: int, total: int, draws: int, generator: torch.Generator, sigma: float = 1.0
) -> tuple[int, float]:
    """Draw the weights and look: in how many of ``draws`` the kept set was the support, and the mean overlap."""
    _check(support, total)
    exact, overlap, done = 0, 0, 0
    while done < draws:
        n = min(draws - done, max(1, 2**20 // total))  # some megabytes at a time
        kept = (torch.randn(n, total, generator=generator, dtype=torch.float64) * sigma).abs() > threshold
        right = kept[:, :support].sum(1)
        exact += int(((right == support) & (kept.sum(1) == support)).sum())
        overlap += int(right.sum())
        done += n
    return exact, overlap / draws


def _z(threshold: float, sigma: float) -> float:
    if threshold < 0 or not sigma > 0:
        raise ValueError(f"threshold {threshold:g}, sigma {sigma:g}: must be at least 0, and above 0")
    return threshold / sigma


def _check(support: int, total: int) -> None:
    if not 0 <= support <= total or total < 1:
        raise ValueError(f"a support of {support} among {total}: must be 0 … {total}, of at least one")
