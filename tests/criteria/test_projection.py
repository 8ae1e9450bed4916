"""Keeping the largest |w| is a Euclidean projection onto ‖u‖₀ ≤ k; in other norms or under signs it is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secateurs.selection import top_k

NUMBERS = st.lists(st.floats(-10, 10, allow_nan=False, width=32), min_size=1, max_size=7)
Norm = Callable[[Tensor], float]


def _euclid(gap: Tensor) -> float:
    return float(gap.square().sum().sqrt())


def _nearest(w: Tensor, k: int, norm: Norm, nonnegative: bool = False) -> float:
    """The least distance to a vector of at most k entries, over all supports. Each entry of a support is free, so it is
    w's own, or 0 where it may not be negative."""
    gaps = []
    for support in itertools.combinations(range(len(w)), k):
        u = torch.zeros_like(w)
        u[list(support)] = w[list(support)].clamp_min(0) if nonnegative else w[list(support)]
        gaps.append(norm(w - u))
    return min(gaps)


def _hard(w: Tensor, k: int) -> Tensor:
    return w * top_k(w.abs(), k)


@given(NUMBERS, st.data())
def test_hard_thresholding_is_the_euclidean_projection(numbers: list[float], data: st.DataObject) -> None:
    w = torch.tensor(numbers, dtype=torch.float64)
    k = data.draw(st.integers(0, len(numbers)))
    u = _hard(w, k)
    assert int((u != 0).sum()) <= k
    assert _euclid(w - u) <= _nearest(w, k, _euclid) * (1 + 1e-12) + 1e-300


def test_it_is_not_in_a_weighted_norm() -> None:
    """Under (Σ h·gap²)^½ with h = (1, 100), keeping the smaller entry is nearer: what OBD's h_qq·w_q² says."""
    w, h = torch.tensor([2.0, 1.0], dtype=torch.float64), torch.tensor([1.0, 100.0])

    def norm(gap: Tensor) -> float:
        return float((h * gap.square()).sum().sqrt())

    assert norm(w - _hard(w, 1)) == 10.0 and _nearest(w, 1, norm) == 2.0
    assert norm(w - w * top_k(h * w.square(), 1)) == 2.0


def test_it_is_not_where_entries_may_not_be_negative() -> None:
    """Of (−3, 2) hard thresholding keeps −3, which becomes 0: distance √13. Keeping 2 is at distance 3."""
    w = torch.tensor([-3.0, 2.0], dtype=torch.float64)
    assert _euclid(w - _hard(w, 1).clamp_min(0)) == _euclid(w) == 13**0.5
    assert _nearest(w, 1, _euclid, nonnegative=True) == 3.0
    assert _euclid(w - w.clamp_min(0) * top_k(w, 1)) == 3.0
