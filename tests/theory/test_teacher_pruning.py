"""Cuts of a student: which units and weights stay, how often, and what a cut costs."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.maths.binomial import interval
from secateurs.theory.teacher_student.order import Order, ansatz
from secateurs.theory.teacher_student.pruning import (
    diverse_nodes,
    edges_for,
    important_edges,
    important_nodes,
    kernel_of,
    losses,
    random_edges,
    random_nodes,
    rescaled,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def student(K: int = 3, M: int = 2, N: int = 12, seed: int = 0):
    g = generator(seed)
    return [torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((K, N), (K,), (M, N), (M,))]


def test_edges_for_as_many_parameters():
    assert [edges_for(k, 500, 6) for k in range(1, 6)] == [83, 166, 250, 333, 417]  # the paper's appendix E


def test_rescaled_rows():
    w = student()[0]
    assert torch.allclose(rescaled(w).norm(dim=1), torch.full((3,), math.sqrt(12), dtype=torch.float64))
    assert torch.allclose(torch.cosine_similarity(w, rescaled(w)), torch.ones(3, dtype=torch.float64))


@given(st.integers(1, 7), st.data())
@settings(max_examples=40, deadline=None)
def test_counts_are_exact(K, data):
    k, g = data.draw(st.integers(0, K)), generator(data.draw(st.integers(0, 10**6)))
    w = torch.randn(K, 9, generator=g)
    v = torch.randn(K, generator=g)
    kernel = w.double() @ w.double().T
    for mask in (random_nodes(K, k, 5, g), important_nodes(v, k), important_nodes(v, k, signed=False),
                 diverse_nodes(kernel, k, 5, g)):  # fmt: skip
        assert mask.dtype == torch.bool and mask.sum(1).tolist() == [k] * len(mask)
    assert important_edges(w, k).sum(-1).tolist() == [[k] * K]


def test_importance_by_hand():
    v = torch.tensor([-3.0, 1.0, 2.0, -0.5])
    assert important_nodes(v, 2).tolist() == [[False, True, True, False]]  # the authors' code: smallest v goes
    assert important_nodes(v, 2, signed=False).tolist() == [[True, False, True, False]]
    w = torch.tensor([[1.0, -2.0, 0.5], [0.1, 0.2, -0.3]])
    assert important_edges(w, 2).tolist() == [[[True, True, False], [False, True, True]]]


def chances(mask, subsets):
    names = [tuple(row.nonzero()[:, 0].tolist()) for row in mask]
    return [names.count(s) for s in subsets]


def agree(counts, probabilities) -> bool:
    trials = sum(counts)
    ends = [interval(c, trials, 1 - 1e-3 / len(counts)) for c in counts]
    return all(low <= p <= high for (low, high), p in zip(ends, probabilities))


def test_nodes_are_drawn_as_often_as_they_should():
    w = student(4, seed=3)[0]
    kernel = w @ w.T / 12
    subsets = list(combinations(range(4), 2))
    weights = [float(torch.linalg.det(kernel[list(s)][:, list(s)])) for s in subsets]
    by_determinant = [x / sum(weights) for x in weights]
    even = [1 / len(subsets)] * len(subsets)
    diverse = chances(diverse_nodes(kernel, 2, 3_000, generator()), subsets)
    random = chances(random_nodes(4, 2, 3_000, generator()), subsets)
    assert agree(diverse, by_determinant) and agree(random, even)
    assert not agree(diverse, even) and not agree(random, by_determinant)


def test_edges_are_kept_one_by_one():
    mask = random_edges((6, 50), 0.3, 200, generator())
    low, high = interval(int(mask.sum()), mask.numel(), 1 - 1e-6)
    assert mask.shape == (200, 6, 50) and low <= 0.3 <= high
    assert len(mask.sum((1, 2)).unique()) > 1  # independent coins, not a fixed number


def test_kernel_is_the_covariance_of_local_fields():
    w = student()[0]
    Q = w @ w.T / 12
    own = Q.diagonal()
    spread = ((own[:, None] * own + Q**2) / 50_000).sqrt()  # of a Wishart matrix
    assert bool(((kernel_of(w, 50_000, generator()) - Q).abs() <= 4.5 * spread).all())


def test_losses_are_a_loop_over_examples():
    w, v, teacher, A = student()
    masks = {"nodes": random_nodes(3, 2, 3, generator(1)), "edges": random_edges((3, 12), 0.5, 2, generator(2))}
    found = losses(w, v, teacher, A, masks, examples=40, generator=generator(5), noise=0.7)
    g = generator(5)
    x = torch.randn(40, 12, generator=g, dtype=torch.float64)
    zeta = torch.randn(40, generator=g, dtype=torch.float64)

    def output(w, v, x):
        return sum(float(b) * math.erf(float(row @ x) / math.sqrt(12) / math.sqrt(2)) for b, row in zip(v, w))

    for name, mask in masks.items():
        for i, kept in enumerate(mask):
            cut = w * (kept[:, None] if name == "nodes" else kept)
            errors = [output(cut, v, e) - output(teacher, A, e) - 0.7 * float(z) for e, z in zip(x, zeta)]
            assert float(found[name][i]) == pytest.approx(0.5 * sum(e * e for e in errors) / 40, rel=1e-9)


def test_losses_are_the_closed_form_and_the_labels_noise():
    w, v, teacher, A = student(seed=4)
    edges, nodes = random_edges((3, 12), 0.5, 4, generator(2)), torch.ones(1, 3, dtype=torch.bool)
    found = losses(
        w, v, teacher, A, {"edges": edges, "nodes": nodes}, examples=200_000, generator=generator(), noise=0.3
    )
    closed = Order.of(edges * w, v.expand(4, -1), teacher, A).error() + 0.3**2 / 2
    whole = Order.of(w, v, teacher, A).error() + 0.3**2 / 2
    assert torch.allclose(found["edges"], closed, rtol=0.02)  # 200,000 squares of relative spread ≲ 2: 4.5 sigmas
    assert torch.allclose(found["nodes"], whole, rtol=0.02)


def test_nodes_of_order_parameters_are_rows_of_weights():
    w, v, teacher, A = student(4, seed=2)
    keep = torch.tensor([True, False, True, True])
    cut = Order.of(w * keep[:, None], v, teacher, A)
    assert float(Order.of(w, v, teacher, A).nodes(keep).error()) == pytest.approx(float(cut.error()), rel=1e-12)


def test_reweighting_is_least_squares_of_local_fields():
    w, v, teacher, A = student(4, N=30, seed=6)
    order, keep = Order.of(w, v, teacher, A), torch.tensor([True, False, True, False])
    x = torch.randn(100_000, 30, generator=generator(), dtype=torch.float64)
    H = x @ w.T
    alpha = torch.linalg.lstsq(H[:, keep], H[:, ~keep]).solution
    assert torch.allclose(order.reweighted(keep).v[keep], v[keep] + alpha @ v[~keep], atol=0.02)
    even = ansatz(2, 3, 4.0)
    one_of_each = even.reweighted(torch.tensor([True, False, False, False, False, True]))
    assert one_of_each.v.tolist() == pytest.approx([4, 0, 0, 0, 0, 4])
    assert float(one_of_each.error()) == pytest.approx(0, abs=1e-12)
    same = even.reweighted(torch.tensor([True, True, False, False, False, False]))  # a singular block
    assert same.v.tolist() == pytest.approx([2, 2, 0, 0, 0, 0])
