"""Thresholds against the problems that they solve, by brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.maths.prox import best_terms, block_soft_threshold, hard_threshold, soft_threshold

NUMBERS = st.floats(-3, 3, allow_nan=False)


def test_by_hand():
    x = torch.tensor([3.0, -1.0, 0.5, -2.0])
    assert soft_threshold(x, 1.0).tolist() == [2.0, 0.0, 0.0, -1.0]
    assert hard_threshold(x, 1.0).tolist() == [3.0, 0.0, 0.0, -2.0]
    assert best_terms(x, 2).tolist() == [3.0, 0.0, 0.0, -2.0]
    assert best_terms(torch.tensor([1.0, -1.0, 1.0]), 2).tolist() == [1.0, -1.0, 0.0]  # ties: the lower index stays
    assert best_terms(x, 0).tolist() == [0.0] * 4
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    assert torch.allclose(block_soft_threshold(rows, 1.0), torch.tensor([[2.4, 3.2], [0.0, 0.0], [0.0, 0.0]]))


@given(NUMBERS, st.floats(0, 2))
@settings(max_examples=200, deadline=None)
def test_scalars_minimise_their_objectives(x, level):
    grid = torch.cat([torch.linspace(-4, 4, 8001, dtype=torch.float64), torch.tensor([0.0, x], dtype=torch.float64)])
    given = torch.tensor(x, dtype=torch.float64)

    def soft(u):
        return 0.5 * (u - given) ** 2 + level * u.abs()

    def hard(u):
        return 0.5 * (u - given) ** 2 + 0.5 * level**2 * (u != 0).double()

    assert soft(soft_threshold(given, level)) <= soft(grid).min() + 1e-9
    assert hard(hard_threshold(given, level)) <= hard(grid).min() + 1e-9


@given(st.lists(NUMBERS, min_size=1, max_size=6), st.data())
@settings(max_examples=100, deadline=None)
def test_best_terms_are_the_nearest_of_all_supports(values, data):
    k = data.draw(st.integers(0, len(values)))
    x = torch.tensor(values, dtype=torch.float64)
    nearest = min(
        float(sum(x[i] ** 2 for i in range(len(values)) if i not in chosen))
        for chosen in itertools.combinations(range(len(values)), k)
    )
    u = best_terms(x, k)
    assert float((x - u).square().sum()) == pytest.approx(nearest, abs=1e-12)
    assert int((u != 0).sum()) <= k


def test_block_soft_is_stationary():
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    u = block_soft_threshold(x, 0.7)
    norm = u.norm(dim=1, keepdim=True)
    alive = (norm > 0).squeeze(1)
    assert alive.any() and torch.allclose((u - x + 0.7 * u / norm)[alive], torch.zeros(3, dtype=torch.float64))
    assert (x[~alive].norm(dim=1) <= 0.7).all()
