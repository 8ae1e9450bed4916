"""Elementary symmetric polynomials in log space, marginals, and what is chosen by them."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from subsets import p_value, subsets

from secateurs.maths.elementary import choose, log_elementary, log_prefixes, marginals

VALUES = st.lists(st.floats(1e-12, 1e12) | st.just(0.0), min_size=1, max_size=8)


def _exact(values: list[float], k: int) -> Fraction:
    return sum((math.prod(map(Fraction, chosen)) for chosen in itertools.combinations(values, k)), Fraction(0))


def _log(exact: Fraction) -> float:
    return math.log(exact.numerator) - math.log(exact.denominator) if exact else -math.inf


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_the_sums_over_subsets(values: list[float]) -> None:
    logs = torch.tensor(values, dtype=torch.float64).log()
    expected = [_log(_exact(values, k)) for k in range(len(values) + 1)]
    assert log_elementary(logs, len(values)).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    prefixes = log_prefixes(logs, len(values))
    for i in range(len(values) + 1):
        assert prefixes[:, i].tolist() == pytest.approx(
            [_log(_exact(values[:i], k)) for k in range(len(values) + 1)], rel=1e-12, abs=1e-12
        )


def test_by_hand() -> None:
    """λ = 1, 2, 3: e = 1, 6, 11, 6. P(3 ∈ J) at k = 2: (3 + 6)/11."""
    logs = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).log()
    assert log_elementary(logs, 4).exp().tolist() == pytest.approx([1, 6, 11, 6, 0])
    assert marginals(logs, 2).tolist() == pytest.approx([5 / 11, 8 / 11, 9 / 11])
    assert marginals(logs, 0).tolist() == [0, 0, 0] and marginals(logs, 3).tolist() == pytest.approx([1, 1, 1])


@given(VALUES, st.data())
@settings(max_examples=100, deadline=None)
def test_marginals_by_enumeration(values: list[float], data) -> None:
    k = data.draw(st.integers(1, len(values)))
    total = _exact(values, k)
    found = marginals(torch.tensor(values, dtype=torch.float64).log(), k)
    if not total:
        assert bool(found.isnan().all())
        return
    for i, value in enumerate(values):
        rest = values[:i] + values[i + 1 :]
        assert float(found[i]) == pytest.approx(float(Fraction(value) * _exact(rest, k - 1) / total), rel=1e-10)
    assert float(found.sum()) == pytest.approx(k, rel=1e-10)


@pytest.mark.parametrize("k", [1, 100, 1000, 1999, 2000])
def test_two_thousand_over_twenty_four_decades(k: int) -> None:
    """Symmetry e_k(λ) = Π λ · e_{n−k}(1/λ), marginals that sum to k, and of equal λ the binomial coefficient."""
    g = torch.Generator().manual_seed(0)
    logs = (torch.rand(2000, generator=g, dtype=torch.float64) * 24 - 12) * math.log(10)
    ours = float(log_elementary(logs, k)[k])
    mirrored = float(logs.sum() + log_elementary(-logs, 2000 - k)[2000 - k])
    assert math.isfinite(ours) and ours == pytest.approx(mirrored, rel=1e-12, abs=1e-6)
    even = float(log_elementary(torch.full((2000,), math.log(7.0), dtype=torch.float64), k)[k])
    binomial = math.lgamma(2001) - math.lgamma(k + 1) - math.lgamma(2001 - k)
    assert even == pytest.approx(binomial + k * math.log(7.0), rel=1e-11)
    if k <= 1000:
        shares = marginals(logs, k)
        assert bool(shares.isfinite().all()) and float(shares.sum()) == pytest.approx(k, rel=1e-9)
        order = logs.argsort()
        assert bool((shares[order].diff() >= -1e-9).all()) and float(shares.max()) <= 1 + 1e-9


@pytest.mark.parametrize("k", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("values", [[0.1, 0.5, 1.0, 2.0, 5.0], [1e-12, 1e-6, 1.0, 1e6, 1e12], [3.0] * 5])
def test_choices_have_the_law_of_products(values: list[float], k: int) -> None:
    logs = torch.tensor(values, dtype=torch.float64).log().expand(20_000, 5)
    masks = choose(logs, torch.full((20_000,), k), torch.Generator().manual_seed(k))
    weights = {s: math.prod(values[i] for i in s) for s in subsets(5, k)}
    law = {s: w / sum(weights.values()) for s, w in weights.items()}
    rare = {s: p for s, p in law.items() if p <= 1e-12}  # possible, and never seen
    assert p_value((tuple(np.flatnonzero(m).tolist()) for m in masks.numpy()), law) > 1e-3, rare


def test_choices_of_two_thousand_are_exactly_as_many() -> None:
    logs = torch.linspace(-28, 28, 2000, dtype=torch.float64)
    zero = torch.cat([torch.full((10,), -torch.inf, dtype=torch.float64), logs[10:]])
    sizes = torch.tensor([0, 1, 700, 1990])
    masks = choose(torch.stack([logs, logs, logs, zero]), sizes, torch.Generator().manual_seed(0))
    assert masks.sum(1).tolist() == sizes.tolist()
    assert not bool(masks[3, :10].any())
