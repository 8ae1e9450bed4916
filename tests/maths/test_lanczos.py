"""Lanczos' ends of spectra against dense algebra."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.maths.lanczos import ends


def symmetric(dimension: int, seed: int) -> torch.Tensor:
    a = torch.randn(dimension, dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return a + a.T


@given(st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_both_ends(dimension, seed):
    a = symmetric(dimension, seed)
    values = torch.linalg.eigvalsh(a)
    found = ends(lambda v: a @ v, dimension, tolerance=1e-9)
    assert (found.smallest, found.largest) == pytest.approx((float(values[0]), float(values[-1])), abs=1e-7)
    residual = a @ found.lowest - found.smallest * found.lowest
    assert float(residual.norm()) < 1e-5 and float(found.lowest.norm()) == pytest.approx(1.0)


def test_a_large_operator_takes_few_products():
    values = torch.cat([torch.linspace(0, 1, 4998, dtype=torch.float64), torch.tensor([-2.0, 30.0]).double()])
    found = ends(lambda v: values * v, 5000)
    assert (found.smallest, found.largest) == pytest.approx((-2.0, 30.0), abs=1e-5)
    assert found.products < 100 and found.error < 1e-4


def test_nothing_and_one_value():
    with pytest.raises(ValueError, match="nothing"):
        ends(lambda v: v, 0)
    found = ends(lambda v: 3.0 * v, 50)
    assert (found.smallest, found.largest) == pytest.approx((3.0, 3.0)) and found.products == 1
    assert ends(lambda v: 0.0 * v, 5).largest == 0.0
