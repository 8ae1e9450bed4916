"""Clearing prices and spectra against closed forms and dense algebra."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.maths import clear, condition_number, spectral_radius


@given(st.floats(0.01, 50), st.floats(0.1, 10), st.floats(1e-6, 1e3))
@settings(max_examples=100, deadline=None)
def test_clearing_price_of_a_linear_demand(supply, slope, guess):
    demand = 60.0
    price = clear(lambda p: demand - slope * p - supply, guess, tolerance=1e-9)
    assert price == pytest.approx((demand - supply) / slope, rel=1e-6)
    assert demand - slope * price - supply <= 1e-9  # from the feasible side


def test_price_is_zero_where_demand_already_fits():
    assert clear(lambda p: -1.0 - p) == 0.0


def test_kinked_demand_clears_exactly():
    wish = torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1.5
    price = clear(lambda p: float((wish - p).clamp(0, 1).sum()) - 20.0, 1e-3, tolerance=1e-9)
    assert float((wish - price).clamp(0, 1).sum()) == pytest.approx(20.0, abs=1e-8)


def test_few_evaluations_from_a_good_guess():
    calls = []

    def excess(p: float) -> float:
        calls.append(p)
        return math.exp(-p) * 100 - 7.0

    clear(excess, 2.0, tolerance=1e-5)
    assert len(calls) <= 14


def test_an_impossible_market_ends():
    assert clear(lambda p: 1.0, 1.0, iterations=20) > 0


def test_spectral_radius_dense_and_iterated(monkeypatch):
    matrix = torch.randn(30, 30, generator=torch.Generator().manual_seed(0))
    matrix = matrix @ matrix.T
    exact = float(torch.linalg.eigvalsh(matrix.double()).abs().max())
    assert spectral_radius(matrix) == pytest.approx(exact, rel=1e-5)
    monkeypatch.setattr("secateurs.maths.spectra._DENSE", 5)
    assert spectral_radius(matrix, iterations=500) == pytest.approx(exact, rel=1e-3)


def test_condition_number():
    assert condition_number(torch.diag(torch.tensor([4.0, 2.0, 1.0]))) == pytest.approx(4.0)
    assert condition_number(torch.ones(3, 3)) == math.inf
