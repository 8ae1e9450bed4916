"""SET and RigL: who is dropped and grown, by hand and by brute force; counts of layers never change."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from secateurs import Budget
from secateurs.dynamics import DYNAMICS, Participating, RigL, SparseEvolution
from secateurs.errors import RunError, SecateursError
from secateurs.partition import players

from .nets import batch, conv_bn, cross_entropy, find, mlp


def _row(live: list[int], theta: list[float], kind: type[RigL] | type[SparseEvolution] = RigL, **kw: Any):
    """One layer of eight single weights, under gradient descent with momentum."""
    model = nn.Linear(4, 2, bias=False).double()
    model.weight.data = torch.tensor(theta, dtype=torch.float64).view(2, 4)
    found = players(model, torch.zeros(2, 4, dtype=torch.float64), "weight")
    rule = kind(Budget(groups=len(live) / 8), horizon=kw.pop("horizon", 1000), every=1, **kw)
    optimizer = rule.wrap(torch.optim.SGD(model.parameters(), 1e-9, momentum=0.9), found)
    with torch.no_grad():
        optimizer.s = torch.zeros(8, dtype=torch.float64)
        optimizer.s[live] = 1.0
        optimizer.weights.raw[0].copy_(torch.tensor(theta, dtype=torch.float64).view(2, 4))
        optimizer.weights.write(optimizer.s)
    return model, optimizer


def _step(model: nn.Module, optimizer: Participating, grads: list[float]) -> list[int]:
    model.weight.grad = torch.tensor(grads, dtype=torch.float64).view(2, 4)
    optimizer.step()
    return optimizer.s.nonzero().flatten().tolist()


def test_one_update_of_rigl_by_hand() -> None:
    """Half of four go: 2 and 3, the smallest. Of those outside then, 6 and 4 have the largest gradients."""
    theta = [5.0, -4.0, 0.1, -0.2, 9.0, 9.0, 9.0, 9.0]
    model, optimizer = _row([0, 1, 2, 3], theta, fraction=0.5 / (0.5 * (1 + math.cos(math.pi / 1000))))
    assert _step(model, optimizer, [7.0, 7.0, 0.5, 0.4, -2.0, 1.0, 3.0, 0.0]) == [0, 1, 4, 6]
    assert model.weight.flatten().tolist() == pytest.approx([5.0, -4.0, 0, 0, 0, 0, 0, 0], abs=1e-6)
    momentum = optimizer.state[model.weight]["momentum_buffer"].flatten().tolist()
    assert momentum[:4] == [7.0, 7.0, 0.5, 0.4]
    assert _step(model, optimizer, [0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0])[:3] == [0, 1, 2]
    momentum = optimizer.state[model.weight]["momentum_buffer"].flatten().tolist()
    assert momentum[:2] == pytest.approx([6.3, 6.3]) and momentum[2] == 0  # it comes back with nothing remembered


def test_who_is_dropped_and_missed_most_comes_back_with_all_it_had() -> None:
    theta = [5.0, -4.0, 0.1, -0.2, 9.0, 9.0, 9.0, 9.0]
    model, optimizer = _row([0, 1, 2, 3], theta, fraction=0.6)
    assert _step(model, optimizer, [0.0, 0.0, 8.0, 0.0, 1.0, 0.0, 0.0, 0.0]) == [0, 1, 2, 4]
    assert model.weight.flatten().tolist() == pytest.approx([5.0, -4.0, 0.1, 0, 0, 0, 0, 0], abs=1e-6)
    assert optimizer.state[model.weight]["momentum_buffer"].flatten()[2] == 8.0


def test_the_share_falls_as_a_cosine_and_sets_stays() -> None:
    rule = RigL(Budget(params=0.5), warmup=10, horizon=100, every=10, fraction=0.4)
    assert [rule.fraction(k) for k in (9, 59, 109)] == pytest.approx([0.4, 0.2, 0.0], abs=1e-12)
    assert rule.fraction(34) == pytest.approx(0.2 * (1 + math.cos(math.pi / 4)))
    assert [k for k in range(130) if rule.updates(k)] == [19, 29, 39, 49, 59, 69, 79, 89, 99, 109]
    assert [k for k in range(130) if rule.listens(k)] == [k for k in range(130) if rule.updates(k)]
    evolution = SparseEvolution(Budget(params=0.5), horizon=100, fraction=0.25)
    assert evolution.fraction(0) == evolution.fraction(99) == 0.25 and not evolution.listens(1)
    assert evolution.settings.period == 1


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_dropped_and_grown_against_brute_force(data: st.DataObject) -> None:
    """Small integers, so that there are ties; of two layers, each by itself. Every set of the right size is tried."""
    from itertools import combinations

    model = mlp(widths=(2, 3, 2))
    found = players(model, torch.zeros(2, 2, dtype=torch.float64), "weight")
    assert [layer.size for layer in found.layers] == [6, 6]
    draw = lambda top: torch.tensor([data.draw(st.integers(0, top)) for _ in range(12)], dtype=torch.float64)  # noqa: E731
    live, norm, pull = draw(1) > 0, draw(3), draw(3)
    fraction = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    rule = RigL(Budget(params=0.5))
    stays, grown = rule.rewired(found, live, norm, pull, fraction)

    def best(pool: list[int], worth: Tensor, count: int) -> set[int]:
        """Of all sets of that size the one with the largest sum; of several the one with the lower indices."""
        return set(max(combinations(pool, count), key=lambda c: (sum(worth[i] for i in c), [-i for i in c])))

    for start in (0, 6):
        inside = [i for i in range(start, start + 6) if live[i]]
        gone = int(fraction * len(inside))
        kept = best(inside, norm, len(inside) - gone)
        new = best([i for i in range(start, start + 6) if i not in kept], pull, gone)
        assert {i for i in range(start, start + 6) if stays[i]} == kept
        assert {i for i in range(start, start + 6) if grown[i]} == new


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize("name", ["set", "rigl"])
def test_counts_of_every_layer_are_those_of_the_first_step(name: str, granularity: str) -> None:
    for build, shape in ((lambda: mlp(widths=(6, 10, 8, 3)), (6,)), (conv_bn, (2, 6, 6))):
        model = build()
        found = find(model, batch(shape)[0], granularity)
        rule = DYNAMICS[name](Budget(params=0.5), horizon=60, every=2, fraction=0.5)
        optimizer = rule.wrap(torch.optim.Adam(model.parameters(), 0.02), found)
        first = found.mass(optimizer.s).tolist()
        assert found.amount("params", optimizer.s > 0) <= 0.5 * found.amount("params")
        masks = set()
        for k in range(62):
            optimizer.zero_grad()
            cross_entropy(model, *batch(shape, seed=k)).backward()
            optimizer.step()
            assert found.mass(optimizer.s).tolist() == first
            masks.add(tuple(optimizer.s.tolist()))
        assert len(masks) > 2


def test_set_grows_every_candidate_equally_often() -> None:
    """One of the six outside after the drop, 600 seeds: a chi-square test on counts. A generator that ignores the seed,
    or a ranking by index, is refused."""
    counts: Counter[int] = Counter()
    for seed in range(600):
        _, optimizer = _row([0, 1, 2], [3.0, 2.0, 1.0] + [9.0] * 5, SparseEvolution, fraction=0.4, seed=seed)
        live = _step(optimizer.players.model, optimizer, [0.0] * 8)
        assert live[:2] == [0, 1] and len(live) == 3
        counts[live[2]] += 1
    assert set(counts) == {2, 3, 4, 5, 6, 7}
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3
    assert stats.chisquare([600, 0, 0, 0, 0, 0]).pvalue < 1e-3


def test_whole_groups_come_back_as_they_left_and_silent_channels_are_drawn() -> None:
    """Behind a rectifier no gradient reaches a channel that is off, so RigL draws; the channel keeps its weights."""
    model, (x, y) = mlp(widths=(6, 12, 3)), batch((6,))
    rule = RigL(Budget(groups=0.5), horizon=400, every=1, fraction=0.5)
    optimizer = rule.wrap(torch.optim.SGD(model.parameters(), 0.05), find(model, x))
    grown: Counter[int] = Counter()
    for _ in range(60):
        before = optimizer.s.clone()
        held = optimizer.weights.raw[0].clone()
        optimizer.zero_grad()
        cross_entropy(model, x, y).backward()
        optimizer.step()
        for i in ((optimizer.s > 0) & (before == 0)).nonzero().flatten().tolist():
            grown[i] += 1
            assert torch.equal(model[0].weight[i], held[i]) and bool((held[i] != 0).any())
    assert len(grown) >= 8  # not always the lowest


def test_an_allocation_that_is_none_is_refused() -> None:
    with pytest.raises(SecateursError, match=r"unknown allocation 'unifrm'.*'uniform'"):
        RigL(Budget(params=0.5), allocation="unifrm")


def test_a_period_beyond_the_horizon_is_refused() -> None:
    found = find(mlp(), torch.randn(2, 6, dtype=torch.float64))
    with pytest.raises(RunError, match="every=50: rigl would never rewire within 40 steps"):
        RigL(Budget(groups=0.5), horizon=40, every=50).init(found)
