"""Exact binomial tests against SciPy's, and against counting."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.maths.binomial import at_least, at_most, interval, p_value

COUNTS = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS, st.floats(0.5, 0.999))
@settings(max_examples=100, deadline=None)
def test_interval_is_clopper_and_pearsons(counts, level):
    stats = pytest.importorskip("scipy.stats")
    k, n = counts
    theirs = stats.binomtest(k, n).proportion_ci(level, "exact")
    assert interval(k, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(COUNTS, st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_p_values_by_counting(counts, twentieths):
    k, n = counts
    p = twentieths / 20
    chances = [comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)]
    assert p_value(k, n, p) == pytest.approx(sum(c for c in chances if c <= chances[k] * (1 + 1e-7)), rel=1e-9)
    assert at_most(k, n, p) == pytest.approx(sum(chances[: k + 1]), abs=1e-12)
    assert at_least(k, n, p) == pytest.approx(sum(chances[k:]), abs=1e-12)


def test_large_counts_do_not_underflow():
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(50_400, 200_000, 0.25)
    assert p_value(50_400, 200_000, 0.25) == pytest.approx(theirs.pvalue, rel=1e-6)
    ci = theirs.proportion_ci(0.99, "exact")
    assert interval(50_400, 200_000) == pytest.approx((ci.low, ci.high), abs=1e-9)


def test_impossible_counts():
    with pytest.raises(ValueError, match="5 hits in 4 trials"):
        interval(5, 4)
