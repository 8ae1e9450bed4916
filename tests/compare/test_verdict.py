"""Verdicts: hand-worked intervals, and sentences that claim no more than the seeds do."""

from __future__ import annotations

import math

import pytest

from secateurs.compare.verdict import ahead, difference, estimate, judge, role
from secateurs.records import Row


def rows(*methods: str) -> list[Row]:
    return [Row(method=m, role=role(m)) for m in methods]


def test_an_interval_by_hand() -> None:
    """1, 2, 3: mean 2, deviation 1, t(2) = 4.3027, half-width 4.3027/√3."""
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.deviation, found.n) == (2.0, 1.0, 3)
    assert found.high == pytest.approx(2 + 4.302652729911275 / math.sqrt(3), rel=1e-9)
    alone = estimate([0.5])
    assert alone.low is None and alone.deviation is None and alone.n == 1


def test_differences_are_paired_by_seed() -> None:
    """A shift that every seed has is sure, however much the seeds differ; seeds that one lacks are left out."""
    left, right = {0: 0.9, 1: 0.5, 2: 0.71}, {0: 0.8, 1: 0.4, 2: 0.6, 7: 0.0}
    found = difference(left, right)
    assert found is not None and found.n == 3 and found.mean == pytest.approx(0.31 / 3)
    assert found.low is not None and found.low > 0 and found.p is not None and found.p < 0.01
    assert ahead(left, right) and not ahead(right, left)
    assert difference({0: 1.0}, {1: 1.0}) is None and not ahead({0: 1.0}, {0: 0.0})


def test_a_winner_is_named() -> None:
    by = {"a": {0: 0.9, 1: 0.91, 2: 0.92}, "b": {0: 0.8, 1: 0.81, 2: 0.825}, "random": {0: 0.5, 1: 0.6, 2: 0.55}}
    table = rows("b", "a", "random")
    winner, sentence = judge("macs=0.5", table, by)
    assert winner == "a" and "a (91.00 ± 2.48) wins" in sentence and "is ahead of random groups" in sentence
    assert [r.best for r in table] == [False, True, False]


def test_no_winner_is_named_where_there_is_none() -> None:
    by = {"a": {0: 0.9, 1: 0.8, 2: 0.85}, "b": {0: 0.8, 1: 0.9, 2: 0.84}, "c": {0: 0.1, 1: 0.1, 2: 0.11}}
    table = rows("a", "b", "c")
    winner, sentence = judge("macs=0.5", table, by)
    assert winner is None and "there is no winner: a" in sentence and "b cannot be told from it" in sentence
    assert [r.best for r in table] == [True, True, False]


def test_controls_never_win_and_are_told_when_they_lead() -> None:
    by = {"a": {0: 0.5, 1: 0.51}, "b": {0: 0.4, 1: 0.41}, "scratch:a": {0: 0.9, 1: 0.91}}
    winner, sentence = judge("macs=0.5", rows("scratch:a", "a", "b"), by)
    assert winner == "a" and "is behind the network of a from scratch" in sentence


def test_one_seed_decides_nothing() -> None:
    winner, sentence = judge("macs=0.5", rows("a", "b"), {"a": {0: 0.9}, "b": {0: 0.1}})
    assert winner is None and "one seed decides nothing" in sentence


def test_nothing_yet_and_nobody_else() -> None:
    assert judge("macs=0.5", rows("a"), {}) == (None, "At macs=0.5 no method has a finished run yet.")
    winner, sentence = judge("macs=0.5", rows("a"), {"a": {0: 0.5, 1: 0.6}})
    assert winner is None and "the only method" in sentence


def test_roles() -> None:
    assert [role(m) for m in ("taylor", "random", "dense", "scratch:taylor", "imp-reinit", "imp")] == [
        "method", "control", "control", "control", "control", "method",
    ]  # fmt: skip
