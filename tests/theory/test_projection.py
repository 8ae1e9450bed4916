"""Where magnitude is the best sparse approximation, and where not."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.theory.projection import best_supports, by_magnitude, lp, metric

VECTORS = st.lists(st.floats(-3, 3, allow_nan=False), min_size=1, max_size=6)


@given(VECTORS, st.data(), st.sampled_from([1.0, 1.5, 2.0, 4.0, math.inf]))
@settings(max_examples=150, deadline=None)
def test_magnitude_is_best_in_every_lp_norm(values, data, order):
    w = torch.tensor(values, dtype=torch.float64)
    k = data.draw(st.integers(0, len(values)))
    assert by_magnitude(w, k, lp(order)).error == pytest.approx(best_supports(w, k, lp(order))[0].error, abs=1e-12)


def test_by_hand():
    w = torch.tensor([1.0, -3.0, 0.5], dtype=torch.float64)
    assert by_magnitude(w, 1, lp(2)).kept == (1,) and by_magnitude(w, 1, lp(2)).error == pytest.approx(1.25**0.5)
    # u ≥ 0: keeping −3 saves nothing, keeping 1 does.
    (best,) = best_supports(w, 1, lp(2, nonnegative=True))
    assert best.kept == (0,) and best.error == pytest.approx(9.25**0.5)
    assert by_magnitude(w, 1, lp(2, nonnegative=True)).error == pytest.approx(10.25**0.5)
    # ℓ∞: only the largest of what is dropped counts, so that ties are many.
    tied = best_supports(torch.tensor([3.0, 2.0, 2.0, 1.0]).double(), 2, lp(math.inf))
    assert [s.kept for s in tied] == [(0, 1), (0, 2), (0, 3)]
    # A metric: the survey's two weights, ½·2000·0.01² = 0.1 against ½·1·0.08² = 0.0032.
    H = torch.diag(torch.tensor([2000.0, 1.0], dtype=torch.float64))
    pair = torch.tensor([0.01, 0.08], dtype=torch.float64)
    (best,) = best_supports(pair, 1, metric(H))
    assert best.kept == (0,) and 0.5 * best.error**2 == pytest.approx(0.0032)
    assert 0.5 * by_magnitude(pair, 1, metric(H)).error ** 2 == pytest.approx(0.1)


@given(st.integers(0, 10**6), st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_kept_entries_move_to_the_least_loss(seed, k):
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(4, 4, dtype=torch.float64, generator=g)
    H, w = a @ a.T + 0.1 * torch.eye(4).double(), torch.randn(4, dtype=torch.float64, generator=g)
    support = by_magnitude(w, k, metric(H))
    root = torch.linalg.cholesky(H).T  # ‖root·(u − w)‖, least squares over the kept entries
    kept = list(support.kept)
    u = torch.zeros(4, dtype=torch.float64)
    if kept:
        u[kept] = torch.linalg.lstsq(root[:, kept], (root @ w)[:, None]).solution[:, 0]
    assert support.error == pytest.approx(float((root @ (u - w)).norm()), abs=1e-7)
    moved = u.clone()
    moved[kept] += 0.01 * torch.randn(len(kept), dtype=torch.float64, generator=g)
    assert float((root @ (moved - w)).norm()) >= support.error - 1e-9
