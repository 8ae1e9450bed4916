"""Soft and hard paths: optimality, equal sets, and what iterating is good for."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.maths.prox import best_terms
from secateurs.theory.paths import (
    Sensing,
    iht,
    ista,
    one_shot,
    orthogonal_paths,
    recovered,
    recovery_curves,
    sensing,
)


@given(st.integers(0, 10**6), st.floats(0.05, 2))
@settings(max_examples=50, deadline=None)
def test_orthogonal_solutions_are_optimal_and_keep_the_same(seed, level):
    g = torch.Generator().manual_seed(seed)
    X = torch.linalg.qr(torch.randn(8, 5, dtype=torch.float64, generator=g)).Q
    y = torch.randn(8, dtype=torch.float64, generator=g)
    z = X.T @ y
    paths = orthogonal_paths(z, torch.tensor([level], dtype=torch.float64))
    soft, hard = paths.soft[0], paths.hard[0]
    assert torch.equal(soft != 0, hard != 0)
    slope = X.T @ (X @ soft - y)  # the lasso's optimality conditions
    assert torch.allclose(slope[soft != 0], -level * soft[soft != 0].sign(), atol=1e-12)
    assert (slope[soft == 0].abs() <= level + 1e-12).all()

    def price(u):
        return 0.5 * (y - X @ u).square().sum() + 0.5 * level**2 * float((u != 0).sum())

    every = [
        price(torch.where(torch.tensor(keep), z, torch.zeros_like(z)))
        for keep in itertools.product([True, False], repeat=5)
    ]
    assert float(price(hard)) == pytest.approx(float(min(every)), abs=1e-12)
    assert torch.equal(hard, best_terms(z, int(paths.kept[0])))  # a projection


def test_bias_by_hand():
    z = torch.tensor([3.0, -2.0, 0.5], dtype=torch.float64)
    paths = orthogonal_paths(z, torch.tensor([0.0, 1.0, 2.5, 4.0], dtype=torch.float64))
    assert paths.kept.tolist() == [3, 2, 1, 0]
    soft, hard = paths.bias(z)
    assert soft[:3].tolist() == [0.0, -1.0, -2.5] and hard[:3].tolist() == [0.0, 0.0, 0.0]
    assert math.isnan(soft[3])


def objective(problem: Sensing, u: torch.Tensor, share: float) -> torch.Tensor:
    level = share * torch.einsum("pmn,pm->pn", problem.A, problem.y).abs().amax(1)
    misfit = 0.5 * (torch.einsum("pmn,pn->pm", problem.A, u) - problem.y).square().sum(1)
    return misfit + level * u.abs().sum(1)


def test_ista_descends_to_the_lasso():
    problem = sensing(20, 12, 3, 10, torch.Generator().manual_seed(0))
    values = torch.stack([objective(problem, ista(problem, 0.1, n), 0.1) for n in (0, 1, 2, 5, 20, 100, 3000)])
    assert (values.diff(dim=0) <= 1e-12).all()
    u = ista(problem, 0.1, 20_000)
    level = 0.1 * torch.einsum("pmn,pm->pn", problem.A, problem.y).abs().amax(1, keepdim=True)
    slope = torch.einsum("pmn,pm->pn", problem.A, torch.einsum("pmn,pn->pm", problem.A, u) - problem.y)
    assert (slope.abs() <= level * (1 + 1e-6)).all()
    kept = u != 0
    assert torch.allclose(slope[kept], (-level * u.sign())[kept], atol=1e-6)


def test_iht_never_climbs_and_ends_where_nothing_moves():
    problem = sensing(30, 18, 4, 20, torch.Generator().manual_seed(1))

    def misfit(u):
        return (torch.einsum("pmn,pn->pm", problem.A, u) - problem.y).norm(dim=1)

    values = torch.stack([misfit(iht(problem, 4, n)) for n in (0, 1, 2, 3, 5, 10, 50, 300)])
    assert (values.diff(dim=0) <= 1e-12).all()
    assert ((iht(problem, 4, 300) != 0).sum(1) <= 4).all()
    assert torch.allclose(iht(problem, 4, 300), iht(problem, 4, 400), atol=1e-6)


def test_with_as_many_measurements_as_unknowns_all_is_found():
    problem = sensing(10, 10, 3, 5, torch.Generator().manual_seed(2))
    eye = Sensing(torch.eye(10, dtype=torch.float64).expand(5, 10, 10), problem.x)
    for found in (one_shot(eye, 3), iht(eye, 3, 3)):
        assert torch.allclose(found, eye.x) and recovered(found, eye).all()
    assert recovered(ista(eye, 0.001, 3), eye).all()
    assert not recovered(eye.x.roll(1, 1), eye).any()


def test_iterating_recovers_what_one_shot_does_not():
    curves = recovery_curves(40, 4, [12, 24, 36], 50)
    assert curves == recovery_curves(40, 4, [12, 24, 36], 50)
    assert curves["hard, iterated (IHT)"][2] > 40 > 30 > curves["one shot"][2]
    assert curves["soft, iterated (ISTA)"][2] > 40
    assert all(a <= c for a, _, c in curves.values())
