"""Determinantal processes: probabilities, marginals, the greedy subset, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from subsets import included, law
from torch import Tensor

from secateurs.maths import Determinantal


def _features(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _both(n: int, d: int, seed: int = 0) -> list[Determinantal]:
    B = _features(n, d, seed)
    return [Determinantal(B @ B.T), Determinantal.of_features(B)]


def test_by_hand() -> None:
    """L = [[2, 1], [1, 2]]: det(L + I) = 8; P(∅) = 1/8, P({0}) = 2/8, P({0, 1}) = 3/8; e_1 = 4, e_2 = 3.

    K = L(L + I)⁻¹ = I − (L + I)⁻¹ = I − [[3, −1], [−1, 3]]/8: K_ii = 5/8, and E|Y| = 5/4."""
    held = Determinantal(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
    assert [math.exp(float(held.log_probability(s))) for s in ([], [0], [1], [0, 1])] == pytest.approx(
        [1 / 8, 2 / 8, 2 / 8, 3 / 8]
    )
    assert math.exp(float(held.log_probability([0], k=1))) == pytest.approx(0.5)
    assert float(held.log_probability([0], k=2)) == -math.inf
    assert held.inclusion().tolist() == pytest.approx([5 / 8, 5 / 8]) and float(held.expected_size) == 1.25
    assert float(held.log_normalizer()) == pytest.approx(math.log(8))
    assert [float(held.log_normalizer(k)) for k in (0, 1, 2, 3)] == pytest.approx(
        [0, math.log(4), math.log(3), -math.inf]
    )
    assert held.eigenvalues.tolist() == pytest.approx([1, 3]) and held.rank == 2 and held.size == 2


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_probabilities_and_marginals_by_enumeration(n: int, d: int, seed: int) -> None:
    L = (B := _features(n, d, seed)) @ B.T
    for held in _both(n, d, seed):
        assert held.rank == min(n, d)
        for k in (None, *range(min(n, d) + 1)):
            chances = law(L.numpy(), k)
            for subset, chance in chances.items():
                assert math.exp(float(held.log_probability(subset, k))) == pytest.approx(chance, rel=1e-6, abs=1e-9)
            assert held.inclusion(k).tolist() == pytest.approx(included(chances, n), rel=1e-6, abs=1e-9)
        K = L @ torch.linalg.inv(L + torch.eye(n))
        torch.testing.assert_close(held.inclusion(), K.diagonal(), rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(held.log_normalizer(), torch.linalg.slogdet(L + torch.eye(n))[1])
        torch.testing.assert_close(held.expected_size, held.inclusion().sum())


@given(st.integers(1, 30), st.integers(0, 10**6), st.data())
@settings(max_examples=60, deadline=None)
def test_draws_are_subsets_of_the_size_asked_for(n: int, seed: int, data) -> None:
    d = data.draw(st.integers(1, n))
    k = data.draw(st.integers(0, n))
    g = torch.Generator().manual_seed(seed)
    for held in _both(n, d, seed):
        items = held.sample(g, k, fill=True)
        assert items.shape == (k,) and items.dtype == torch.long and items.unique().tolist() == items.tolist()
        assert len(held.sample(g)) <= held.rank
        assert int(held.mask(g, min(k, d)).sum()) == min(k, d)
        if k > held.rank:
            with pytest.raises(
                ValueError, match=rf"k = {k} items from a kernel of {n} items and numerical rank {held.rank}"
            ):
                held.sample(g, k)


def test_reordering_items_reorders_everything() -> None:
    L = (B := _features(9, 9)) @ B.T
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    before, after = Determinantal(L), Determinantal(L[order][:, order])
    torch.testing.assert_close(after.inclusion(), before.inclusion()[order])
    torch.testing.assert_close(after.inclusion(4), before.inclusion(4)[order])
    torch.testing.assert_close(order[after.most_likely(5)], before.most_likely(5))


def test_scaling_a_kernel_leaves_its_k_dpp() -> None:
    L = (B := _features(6, 6)) @ B.T
    for scale in (1e-9, 1e9):
        torch.testing.assert_close(Determinantal(L * scale).inclusion(3), Determinantal(L).inclusion(3))


def test_a_batch_is_its_members() -> None:
    B = _features(5 * 7, 4).view(5, 7, 4)
    singles = [Determinantal.of_features(b) for b in B]
    for held in (Determinantal.of_features(B), Determinantal(B @ B.mT)):
        assert held.rank.tolist() == [4] * 5
        for made, of in (
            (held.inclusion(), [s.inclusion() for s in singles]),
            (held.inclusion(3), [s.inclusion(3) for s in singles]),
            (held.log_normalizer(2), [s.log_normalizer(2) for s in singles]),
            (held.log_probability([1, 3]), [s.log_probability([1, 3]) for s in singles]),
            (held.expected_size, [s.expected_size for s in singles]),
            (held.most_likely(3), [s.most_likely(3) for s in singles]),
        ):
            torch.testing.assert_close(made, torch.stack(of))
        g = torch.Generator().manual_seed(0)
        assert held.sample(g, 3).shape == (5, 3) and held.mask(g, [0, 1, 2, 3, 4]).sum(1).tolist() == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match=r"take mask\(\)"):
            for _ in range(20):
                held.sample(g)


class TestGreedy:
    def test_every_step_is_the_best_by_determinants(self) -> None:
        for seed in range(5):
            for held, L in zip(_both(8, 5, seed), [(_features(8, 5, seed) @ _features(8, 5, seed).T).numpy()] * 2):
                taken: list[int] = []
                for item in held.most_likely(5).tolist():
                    gains = {i: np.linalg.det(L[np.ix_([*taken, i], [*taken, i])]) for i in range(8) if i not in taken}
                    assert item == max(gains, key=gains.__getitem__)
                    taken.append(item)

    def test_ties_go_to_the_lower_index(self) -> None:
        assert Determinantal(torch.eye(6)).most_likely(4).tolist() == [0, 1, 2, 3]
        twins = torch.tensor([1.0, 1.0, 2.0, 2.0, 1.0])[:, None] * torch.eye(5)[[0, 0, 1, 1, 2]]
        assert Determinantal(twins @ twins.T).most_likely(3).tolist() == [2, 0, 4]

    def test_it_is_likely(self) -> None:
        """At least as likely as the median subset, and never far from the best, over twenty kernels."""
        ratios = []
        for seed in range(20):
            L = ((B := _features(8, 8, seed)) @ B.T).numpy()
            chances = law(L, 3)
            got = chances[tuple(sorted(Determinantal(torch.from_numpy(L)).most_likely(3).tolist()))]
            assert got >= sorted(chances.values())[len(chances) // 2]
            ratios.append(got / max(chances.values()))
        assert min(ratios) > math.factorial(3) ** -2  # Çivril & Magdon-Ismail 2009: within 1/(k!)² of the best


class TestKernelsThatAreNot:
    def test_what_is_refused(self) -> None:
        cases = [
            (torch.tensor([[1.0, math.nan], [math.nan, 1.0]]), r"holds nan at \(0, 1\)"),
            (torch.tensor([[math.inf, 0.0], [0.0, 1.0]]), r"holds inf at \(0, 0\)"),
            (torch.tensor([[1.0, 0.5], [0.2, 1.0]]), r"not symmetric: 0.5 at \(0, 1\) and 0.2 at \(1, 0\)"),
            (torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "not positive semidefinite: its eigenvalues go from -1 to 3"),
            (torch.ones(2, 3), r"this is \(2, 3\)"),
            (torch.zeros(0, 0), "n ≥ 1"),
            (torch.ones(3), "n ≥ 1"),
        ]
        for kernel, message in cases:
            with pytest.raises(ValueError, match=message):
                Determinantal(kernel)
        for features in (torch.tensor([[1.0], [math.nan]]), torch.zeros(0, 3), torch.ones(4)):
            with pytest.raises(ValueError, match="features"):
                Determinantal.of_features(features)
        for subset in ([0, 0], [-1], [2]):
            with pytest.raises(ValueError, match="distinct items from 0 to 1"):
                Determinantal(torch.eye(2)).log_probability(subset)
        with pytest.raises(ValueError, match="k = 5"):
            Determinantal(torch.eye(2)).sample(torch.Generator(), 5, fill=True)
        with pytest.raises(ValueError, match="k = -1"):
            Determinantal(torch.eye(2)).inclusion(-1)

    def test_rounding_is_forgiven(self) -> None:
        """A kernel of rank 3 whose smallest eigenvalues are a little below zero, in either precision."""
        B = _features(40, 3)
        for dtype in (torch.float64, torch.float32):
            narrow = B.to(dtype)
            held = Determinantal(narrow @ narrow.T)
            assert held.rank == 3 and float(held.eigenvalues.min()) == 0.0
            assert float(held.inclusion(3).sum()) == pytest.approx(3, rel=1e-5)

    def test_constant_rows_are_one_direction(self) -> None:
        held = Determinantal(torch.ones(5, 5))
        assert held.rank == 1 and held.inclusion().tolist() == pytest.approx([1 / 6] * 5)
        assert held.inclusion(1).tolist() == pytest.approx([0.2] * 5)
        with pytest.raises(ValueError, match="k = 2 items from a kernel of 5 items and numerical rank 1; fill=True"):
            held.sample(torch.Generator(), 2)
        with pytest.raises(ValueError, match="rank 1"):
            held.most_likely(2)

    def test_zeros(self) -> None:
        for held in (Determinantal(torch.zeros(4, 4)), Determinantal.of_features(torch.zeros(4, 2))):
            assert held.rank == 0 and held.inclusion().tolist() == [0.0] * 4 and float(held.log_normalizer()) == 0
            assert held.sample(torch.Generator()).tolist() == [] and float(held.log_normalizer(1)) == -math.inf
            assert float(held.log_probability([])) == 0 and float(held.log_probability([1])) == -math.inf


def test_two_thousand_items_over_sixteen_decades() -> None:
    """n = 2,000: what is drawn is of full size and distinct, marginals are probabilities and sum to k."""
    n, g = 2000, torch.Generator().manual_seed(0)
    values = torch.logspace(-8, 8, n, dtype=torch.float64)
    Q = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=torch.float64)).Q
    held = Determinantal((Q * values) @ Q.T)
    assert held.rank < n  # the smallest are below what rounding leaves of the largest
    for k in (1, 800):
        items = held.sample(g, k)
        assert len(items) == k == len(items.unique())
        shares = held.inclusion(k)
        assert float(shares.sum()) == pytest.approx(k, rel=1e-8) and float(shares.min()) >= 0
        assert float(shares.max()) <= 1 + 1e-8 and math.isfinite(float(held.log_normalizer(k)))


def test_the_dual_form_agrees_where_the_primal_is_too_large_to_test_by_enumeration() -> None:
    B = _features(200, 12, 1)
    primal, dual = Determinantal(B @ B.T), Determinantal.of_features(B)
    for k in (None, 1, 7, 12):
        torch.testing.assert_close(dual.inclusion(k), primal.inclusion(k), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(dual.log_normalizer(k), primal.log_normalizer(k))
    items = dual.sample(torch.Generator().manual_seed(0), 12)
    torch.testing.assert_close(dual.log_probability(items, 12), primal.log_probability(items, 12))
    assert dual.most_likely(12).tolist() == primal.most_likely(12).tolist()
    assert dual.eigenvalues.shape == (12,)
