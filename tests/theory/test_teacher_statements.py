"""The paper's statements: hand-worked numbers, both sides on grids, and where they fail."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.theory.teacher_student import closed
from secateurs.theory.teacher_student.order import Order, ansatz
from secateurs.theory.teacher_student.pruning import important_edges
from secateurs.theory.teacher_student.statements import (
    Statement,
    conjecture1,
    lemma1,
    lemma2,
    lemma3,
    lemma4,
    theorem1,
    theorem2,
    theorem3,
    theorem4,
    theorem5,
)


def test_by_hand():
    """M = 2, Z = 3, v* = 4: 16/6·[k·(2/3)² + 2 − k] and its like."""
    assert closed.dpp_node(1, 2, 3, 4.0) == pytest.approx(16 / 6 * (4 / 9 + 1))  # 3.852
    assert closed.dpp_node(2, 2, 3, 4.0) == pytest.approx(16 / 6 * 8 / 9)  # 2.370
    assert [closed.dpp_node(k, 2, 3, 4.0, reweighted=True) for k in (1, 2)] == pytest.approx([16 / 6, 0])
    assert closed.random_node(2, 2, 3, 4.0) == pytest.approx(16 / 6 * (0.6 * 8 / 9 + 0.4 * (1 / 9 + 1)))
    assert [round(closed.random_node(k, 2, 3, 4.0), 3) for k in range(1, 6)] == [3.852, 2.607, 1.6, 0.83, 0.296]
    kept = [c / 500 for c in (83, 166, 250, 333, 417)]
    assert [round(closed.random_edge(c, 2, 3, 4.0), 3) for c in kept] == [3.76, 2.578, 1.659, 0.951, 0.399]
    assert closed.random_edge(0, 2, 3, 4.0) == pytest.approx(16 / 3) and closed.random_edge(1, 2, 3) == pytest.approx(0)
    with pytest.raises(ValueError, match="Theorem 1 is about 0 … M = 2"):
        closed.dpp_node(3, 2, 3)


def test_a_statement_knows_equals():
    assert Statement(1.0, "=", 1.0 + 1e-12).holds and not Statement(1.0, "=", 1.001).holds
    assert Statement(1.0, ">=", 1.0 + 1e-12).holds and not Statement(1.0 + 1e-12, ">", 1.0).holds
    assert Statement(1.0, "<", 1.1).holds and not Statement(1.1, "<=", 1.0).holds and Statement(2.0, ">", 1.0).holds


@given(st.integers(1, 3), st.integers(1, 4), st.data())
@settings(max_examples=60, deadline=None)
def test_lemma2_for_any_subset(M, Z, data):
    kept = data.draw(st.sets(st.integers(0, M * Z - 1)))
    assert lemma2(sorted(kept), M, Z, 4.0).holds


def test_lemma1_and_lemma4_are_what_is_drawn():
    generator = torch.Generator().manual_seed(0)
    w, teacher = (torch.randn(n, 60, generator=generator, dtype=torch.float64) for n in (4, 2))
    assert lemma1(w, 20_000, generator).holds
    for c in (0.1, 0.5, 0.9):
        assert lemma4(w, teacher, c, 2_000, generator).holds
        assert not lemma4(w, teacher, c, 2_000, generator, as_proved=True).holds  # c²·Q_ii, as the proof has it


def test_lemma3_needs_the_sums_alone():
    assert lemma3(torch.tensor([1.0, 0.5, 2.5, 4.0, 0.0, 0.0]).double(), 2, 3).holds
    assert not lemma3(torch.tensor([1.0, 0.5, 2.5, 3.9, 0.0, 0.0]).double(), 2, 3).holds


@pytest.mark.parametrize(("M", "Z"), [(1, 1), (1, 4), (2, 3), (3, 2)])
def test_theorem1_over_every_subset(M, Z):
    for k in range(M + 1):
        assert theorem1(k, M, Z, 4.0).holds and theorem1(k, M, Z, 4.0, reweighted=True).holds


@pytest.mark.parametrize("Z", [2, 3, 5])
def test_theorem2_is_strict_from_two_nodes_on(Z):
    for M in range(1, 5):
        single = theorem2(1, M, Z)
        assert [s.holds for s in single] == [False, False, True]  # one node of any: the two are the same
        assert single[0].left == pytest.approx(single[0].right)
        for k in range(2, M + 1):
            assert all(s.holds for s in theorem2(k, M, Z))


def test_theorem3_is_lemma4_in_the_error():
    assert all(theorem3(c / 20, M, Z, 4.0).holds for c in range(21) for M in (1, 3) for Z in (1, 3, 6))


def test_theorems_4_and_5_on_the_papers_grid_and_below():
    def holds(theorem, Z):
        return [theorem(i / 100 / Z, Z).holds for i in range(101)]

    for Z in range(4, 31):
        assert all(holds(theorem4, Z)) and all(holds(theorem5, Z))
    assert not all(holds(theorem4, 3))
    at = {k: theorem4(c / 500, 3) for k, c in ((1, 83), (2, 166))}
    assert at[1].holds and not at[2].holds  # at Z = 3 random edge beats DPP node only at 17%
    assert theorem4(0.1, 4, M=3).left == pytest.approx(3 * theorem4(0.1, 4).left)


@given(st.floats(0.01, 1), st.integers(1, 30), st.floats(-3, 15))
@settings(max_examples=100, deadline=None)
def test_no_scale_is_better_than_the_best(c, Z, A):
    best = closed.random_edge(c, 1, Z, factor=closed.best_factor(c, Z))
    assert best <= closed.random_edge(c, 1, Z, factor=A) + 1e-12
    order = ansatz(1, Z).thinned(c).scaled(A)
    assert float(order.error()) == pytest.approx(closed.random_edge(c, 1, Z, factor=A), abs=1e-10)


def test_conjecture1():
    found, upto = conjecture1("random", 2, 3, 4.0)
    assert [s.holds for s in found] == [True, True, True, False, False, False, True] and upto == pytest.approx(1 / 3)
    assert conjecture1("importance", 2, 3)[1] == 1.0


def test_importance_edge_of_many_gaussian_weights():
    generator = torch.Generator().manual_seed(1)
    teacher = torch.randn(2, 200_000, generator=generator, dtype=torch.float64)
    w, v = teacher.repeat_interleave(3, 0), torch.full((6,), 4 / 3, dtype=torch.float64)
    A = torch.full((2,), 4.0, dtype=torch.float64)
    for c in (0.166, 0.5, 0.834):
        cut = w * important_edges(w, round(c * w.shape[1]))[0]
        ours = float(Order.of(cut, v, teacher, A).error())
        assert ours == pytest.approx(closed.important_edge(c, 2, 4.0), abs=0.02)  # O(1/√N) of a loss of up to 5
        assert float((cut[0] ** 2).mean()) == pytest.approx(closed.kept_square(c), abs=0.01)
    assert closed.important_edge(0, 2, 4.0) == pytest.approx(16 / 3)
    assert closed.important_edge(1, 2, 4.0) == pytest.approx(0, abs=1e-12)
    assert math.isclose(closed.kept_square(0.5), 0.5 + 2 * 0.6744897501960817 * 0.31777657, rel_tol=1e-6)
