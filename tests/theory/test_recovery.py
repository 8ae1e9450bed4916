"""The chance of finding a sparse truth, against formulas by hand and against drawing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.maths.binomial import interval
from secateurs.theory import recovery

DRAWS = 40_000


def printed(t: float, k: int, d: int, sigma: float) -> float:
    phi = 0.5 * (1 + math.erf(t / sigma / math.sqrt(2)))
    return (2 * (1 - phi)) ** k * (2 * phi - 1) ** (d - k)


@given(st.floats(0.01, 3), st.integers(0, 12), st.integers(0, 12), st.floats(0.5, 2))
@settings(max_examples=100, deadline=None)
def test_it_is_the_printed_formula(t, k, rest, sigma):
    if k + rest:
        found = math.exp(recovery.log_recovery(t, k, k + rest, sigma))
        assert found == pytest.approx(printed(t, k, k + rest, sigma), rel=1e-9)


def _agrees(log_p: float, t: float, k: int, d: int, sigma: float) -> bool:
    exact, _ = recovery.simulate(t, k, d, DRAWS, torch.Generator().manual_seed(7), sigma)
    low, high = interval(exact, DRAWS, 0.999)
    return low <= math.exp(log_p) <= high


@pytest.mark.parametrize(("t", "k", "d", "sigma"), [(1.0, 2, 6, 1.0), (0.8, 1, 5, 0.5), (1.9, 3, 8, 2.0)])
def test_drawing_agrees(t, k, d, sigma):
    assert _agrees(recovery.log_recovery(t, k, d, sigma), t, k, d, sigma)
    # The same test finds a formula with a one-sided tail, with σ² for σ, or with k and d−k exchanged.
    wrong = math.log(0.5) * k + recovery.log_recovery(t, k, d, sigma)
    assert not _agrees(wrong, t, k, d, sigma)
    assert not _agrees(recovery.log_recovery(t, d - k, d, sigma), t, k, d, sigma)
    if sigma != 1:
        assert not _agrees(recovery.log_recovery(t, k, d, sigma**2), t, k, d, sigma)


@given(st.integers(1, 20), st.integers(0, 20), st.floats(0.5, 2), st.floats(-0.3, 0.3))
@settings(max_examples=100, deadline=None)
def test_the_best_threshold_keeps_the_right_fraction(k, rest, sigma, off):
    d = k + rest
    t = recovery.best_threshold(k, d, sigma)
    assert math.exp(recovery.log_kept(t, sigma)) == pytest.approx(k / d, rel=1e-9)
    best = recovery.log_recovery(t, k, d, sigma)
    assert best == pytest.approx(recovery.best_log_recovery(k, d), rel=1e-9, abs=1e-12)
    assert recovery.log_recovery(abs(t + off), k, d, sigma) <= best + 1e-12
    assert best <= recovery.log_recovery_by_count(k, d) + 1e-9


def test_ends_and_large_sizes():
    assert recovery.best_threshold(0, 5) == math.inf and recovery.best_threshold(5, 5) == 0.0
    assert recovery.log_recovery(math.inf, 0, 5) == 0.0 == recovery.log_recovery(0.0, 5, 5)
    assert recovery.log_recovery(0.0, 3, 5) == -math.inf
    d, k = 10**6, 10**5
    entropy = -0.1 * math.log(0.1) - 0.9 * math.log(0.9)
    assert recovery.best_log_recovery(k, d) == pytest.approx(-d * entropy)
    assert recovery.log_recovery(recovery.best_threshold(k, d), k, d) == pytest.approx(-d * entropy, rel=1e-9)
    assert recovery.log_kept(40.0) == pytest.approx(-804.608 + math.log(2), abs=1e-3)  # 2(1 − Φ(40)) is no float
    assert recovery.log_recovery_by_count(2, 4) == pytest.approx(math.log(1 / 6))


def test_overlap():
    _, mean = recovery.simulate(1.0, 5, 20, DRAWS, torch.Generator().manual_seed(1))
    right, kept = recovery.expected_overlap(1.0, 5, 20)
    assert right / kept == pytest.approx(0.25)
    q = right / 5
    low, high = interval(round(mean * DRAWS), 5 * DRAWS, 0.999)
    assert low <= q <= high


def test_what_makes_no_sense():
    with pytest.raises(ValueError, match="a support of 4 among 3"):
        recovery.best_threshold(4, 3)
    with pytest.raises(ValueError, match="threshold -1"):
        recovery.log_kept(-1.0)
