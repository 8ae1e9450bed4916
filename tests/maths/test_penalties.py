"""Penalties: ends, derivatives by differences, concavity, hand-worked values; Otsu's split against trying them all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateurs.maths import L1, MCP, PENALTIES, SCAD, Log, Lp, Penalty, otsu

EVERY = [*(make() for make in PENALTIES.values()), Log(0.01), MCP(0.4), MCP(2.0), SCAD(0.1), SCAD(0.5, 2.5), Lp(0.25)]


@pytest.mark.parametrize("penalty", EVERY, ids=repr)
def test_ends_slope_and_concavity(penalty: Penalty) -> None:
    np.testing.assert_allclose(penalty.amount(np.array([0.0, 1.0])), [0.0, 1.0], atol=1e-15)
    m = np.linspace(0.003, 0.997, 190)  # clear of the kinks of the second derivative by more than the difference
    h = 1e-6
    numeric = (penalty.amount(m + h) - penalty.amount(m - h)) / (2 * h)
    np.testing.assert_allclose(penalty.slope(m), numeric, rtol=1e-6, atol=1e-5)
    ends = penalty.slope(np.array([0.0, 1.0]))
    assert np.isfinite(ends).all() and ends[1] >= 0
    assert (np.diff(penalty.slope(np.linspace(0, 1, 500))) <= 1e-12).all()


@pytest.mark.parametrize("penalty", EVERY, ids=repr)
def test_the_bend_is_the_least_that_makes_it_convex(penalty: Penalty) -> None:
    m = np.linspace(0, 1, 100_001)
    steepest = -float((np.diff(penalty.slope(m)) / np.diff(m)).min())
    assert steepest == pytest.approx(penalty.bend, rel=2e-3, abs=1e-9)
    assert (np.diff(penalty.slope(m) + penalty.bend * m) >= -1e-12).all()


def test_values_by_hand() -> None:
    half = np.array([0.5])
    assert Log(0.1).amount(half)[0] == pytest.approx(math.log(6) / math.log(11))
    assert Log(0.1).slope(np.zeros(1))[0] == pytest.approx(10 / math.log(11))
    assert L1().amount(half)[0] == 0.5
    assert MCP(1.0).amount(half)[0] == pytest.approx((0.5 - 0.125) / 0.5)
    assert MCP(0.5).slope(np.array([0.7]))[0] == 0.0 and MCP(0.5).amount(np.array([0.7]))[0] == 1.0
    # knee 0.2, a 3: ρ = m to 0.2, then 0.2 + ∫(0.6 − t)/0.4 = at 0.4: 0.2 + 0.15, at 0.6 and beyond: 0.4
    assert SCAD(0.2, 3.0).amount(np.array([0.1, 0.4, 0.6, 0.9])) == pytest.approx([0.25, 0.875, 1.0, 1.0])
    # δ = 0.01, p = ½: (√0.26 − 0.1)/(√1.01 − 0.1); at 0 the slope is 5/(√1.01 − 0.1)
    assert Lp(0.5, 0.01).amount(np.array([0.25]))[0] == pytest.approx((0.26**0.5 - 0.1) / (1.01**0.5 - 0.1))
    assert Lp(0.5, 0.01).slope(np.zeros(1))[0] == pytest.approx(5 / (1.01**0.5 - 0.1))


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=30))
def test_otsu_leaves_the_least_variance_of_all_splits(values: list[float]) -> None:
    x = np.array(values)
    cut = otsu(x)

    def within(t: float) -> float:
        low, high = x[x < t], x[x >= t]
        return sum(float(((part - part.mean()) ** 2).sum()) for part in (low, high) if part.size)

    least = min((within(t) for t in np.unique(x)[1:]), default=0.0)
    assert within(cut) <= least + 1e-9


def test_otsu_by_hand_and_where_nothing_splits() -> None:
    assert otsu(np.array([0.0, 0.1, 0.8, 1.0])) == pytest.approx(0.45)
    assert otsu(np.full(5, 0.5)) == 0.5
    assert otsu(np.array([0.0, 0.0, 0.0, 1.0])) == 0.5
    with pytest.raises(ValueError, match="no values"):
        otsu(np.zeros(0))


@pytest.mark.parametrize("share", [0.02, 0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_otsu_finds_the_gap_of_a_bimodal_mask(share: float, seed: int) -> None:
    """Most at 0 or just above, a share of them near 1."""
    rng = np.random.default_rng(seed)
    high = rng.random(20_000) < share
    low = np.where(rng.random(high.size) < 0.7, 0.0, rng.beta(1, 20, high.size).clip(max=0.25))
    m = np.where(high, 1 - rng.beta(1, 6, high.size).clip(max=0.5), low)
    assert np.array_equal(m >= otsu(m), high)
