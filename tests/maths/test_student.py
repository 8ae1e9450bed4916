"""Student's t against tables, against scipy, and against data that do not differ."""

from __future__ import annotations

import math

import pytest
import torch

from secateurs.maths.student import critical_t, paired_interval, paired_t, student_p


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    [(12.706, 1, 0.05), (4.303, 2, 0.05), (2.776, 4, 0.05), (4.604, 4, 0.01), (2.571, 5, 0.05), (2.262, 9, 0.05)],
)
def test_critical_values_of_the_tables(t: float, freedom: int, p: float) -> None:
    assert student_p(t, freedom) == pytest.approx(p, rel=1e-3)
    assert student_p(-t, freedom) == student_p(t, freedom)


def test_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in range(1, 25):
        for t in (0.0, 0.3, 1.0, 2.5, 6.0):
            assert student_p(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-9, abs=1e-13)
    left, right = [0.98, 0.97, 0.985, 0.979, 0.982], [0.975, 0.972, 0.974, 0.97, 0.973]
    assert paired_t(left, right)[1] == pytest.approx(stats.ttest_rel(left, right).pvalue, rel=1e-9)


def test_a_pair_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1, t = 2√3, and with two degrees of freedom p = 1 − t/√(t² + 2).
    found = paired_t([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found == (2.0, pytest.approx(1 - math.sqrt(12 / 14)))


def test_no_difference_is_found_as_often_as_promised() -> None:
    """Of 2,000 pairs of equal samples, 5% have p < 0.05: within four standard deviations of that."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(2000, 2, 5, generator=generator, dtype=torch.float64)
    hits = sum(paired_t(a.tolist(), b.tolist())[1] < 0.05 for a, b in draws)
    assert abs(hits - 100) < 4 * math.sqrt(2000 * 0.05 * 0.95)


def test_ends() -> None:
    assert math.isnan(paired_t([1.0], [0.0])[1])
    assert paired_t([1.0, 2.0], [1.0, 2.0]) == (0.0, 1.0)
    assert paired_t([1.0, 2.0], [0.0, 1.0]) == (1.0, 0.0)
    with pytest.raises(ValueError, match="3 values cannot be paired with 2"):
        paired_t([1.0, 2.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("p", "freedom", "t"), [(0.05, 1, 12.7062), (0.05, 9, 2.26216), (0.01, 4, 4.60409), (0.5, 2, 0.81650)]
)
def test_the_inverse_against_tables(p: float, freedom: int, t: float) -> None:
    assert critical_t(p, freedom) == pytest.approx(t, rel=1e-5)
    assert student_p(critical_t(p, freedom), freedom) == pytest.approx(p, rel=1e-9)


def test_an_interval_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, error 1/√3, and the table's 4.30265 at two degrees of freedom.
    low, high = paired_interval([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (low, high) == (pytest.approx(2 - 4.30265 / 3**0.5, abs=1e-4), pytest.approx(2 + 4.30265 / 3**0.5))
    assert all(math.isnan(end) for end in paired_interval([1.0], [0.0]))
