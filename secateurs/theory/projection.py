"""Sparse approximation by trying every support: where keeping the largest magnitudes is best, and where it is not.

    min ‖u − w‖  over u with k entries that are not zero (and perhaps u ≥ 0)

In every ℓ_p norm the k largest |w| are a best support (survey *magnitude* says so of ℓ2): what is lost is the norm of
what is dropped, and dropping less is better whatever p. It ends where the norm knows the entries apart. In a metric,
‖x‖_H² = xᵀHx, which is the loss to second order, the kept entries move to make up for the dropped ones, and

    min over u_S of (u − w)ᵀH(u − w) = w_Dᵀ(H_DD − H_DS·H_SS⁻¹·H_SD)·w_D        D dropped, S kept

(Hassibi & Stork 1993, for many weights at once). Under u ≥ 0 a negative entry is lost even where it is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Distance = Callable[[Tensor, tuple[int, ...]], float]
"""``distance(w, kept)`` → the least distance from w to a vector that lives on ``kept``."""


@dataclass(frozen=True)
class Support:
    """A set of entries and how far from w the nearest vector on it is."""

    kept: tuple[int, ...]
    error: float


def lp(order: float, *, nonnegative: bool = False) -> Distance:
    """The ℓ_p norm, p ≥ 1 or infinite; ``nonnegative``: u ≥ 0."""

    def distance(w: Tensor, kept: tuple[int, ...]) -> float:
        lost = w.clone()
        inside = list(kept)
        lost[inside] = lost[inside].clamp_max(0.0) if nonnegative else 0.0
        return float(torch.linalg.vector_norm(lost, order))

    return distance


def metric(H: Tensor) -> Distance:
    """√(xᵀHx), H symmetric and positive definite, the kept entries free to move."""

    def distance(w: Tensor, kept: tuple[int, ...]) -> float:
        S, D = list(kept), [i for i in range(len(w)) if i not in kept]
        if not D:
            return 0.0
        rest = H[D][:, D]
        if S:
            rest = rest - H[D][:, S] @ torch.linalg.solve(H[S][:, S], H[S][:, D])
        return float((w[D] @ rest @ w[D]).clamp_min(0.0).sqrt())

    return distance


def best_supports(w: Tensor, k: int, distance: Distance, tolerance: float = 1e-12) -> list[Support]:
    """All the supports of k entries that are nearest to w, by trying every one: C(d, k) of them."""
    found = [Support(kept, distance(w, kept)) for kept in itertools.combinations(range(len(w)), k)]
    least = min(s.error for s in found)
    return [s for s in found if s.error <= least + tolerance * (1 + least)]


def by_magnitude(w: Tensor, k: int, distance: Distance) -> Support:
    """The k largest |w|, ties by lower index, and how near they come."""
    order: Sequence[int] = w.abs().sort(descending=True, stable=True).indices[:k].tolist()
    kept = tuple(sorted(order))
    return Support(kept, distance(w, kept))


__all__ = ["Distance", "Support", "best_supports", "by_magnitude", "lp", "metric"]
