"""Gradual magnitude by hand: the path's values, and masked weights that come back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateurs import Budget
from secateurs.dynamics import Gradual, Participating
from secateurs.dynamics.budgeted import Closing
from secateurs.partition import players


def _twenty(values: torch.Tensor | None = None, **kw: object) -> tuple[nn.Linear, Participating]:
    """Twenty single weights under plain gradient descent."""
    model = nn.Linear(5, 4, bias=False).double()
    model.weight.data = (torch.arange(1, 21, dtype=torch.float64) if values is None else values).view(4, 5)
    found = players(model, torch.zeros(2, 5, dtype=torch.float64), "weight")
    rule = Gradual(Budget(groups=0.2), **kw)
    return model, rule.wrap(torch.optim.SGD(model.parameters(), 1.0), found)


def test_the_path_is_the_cubic() -> None:
    closing = Closing(warmup=2, horizon=4)
    # Steps done after 0 … 6: t = 0, 0, ¼, ½, ¾, 1, 1 and 1 − (1−t)³.
    expected = [0.0, 0.0, 37 / 64, 56 / 64, 63 / 64, 1.0, 1.0]
    assert [closing.closed(k) for k in range(7)] == pytest.approx(expected, abs=1e-15)
    assert Closing(warmup=0, horizon=4, power=1).closed(0) == 0.25


def test_counts_at_every_step_are_what_the_cubic_leaves_room_for() -> None:
    model, optimizer = _twenty(warmup=2, horizon=4, every=1)
    counts = []
    for _ in range(8):
        model.weight.grad = torch.zeros_like(model.weight)
        optimizer.step()
        counts.append(int(optimizer.s.sum()))
        assert torch.equal(optimizer.s > 0, torch.arange(20) >= 20 - counts[-1])  # the largest stay
    # 20 − 16·(0, 0, .578, .875, .984, 1): 20, 20, 10.75, 6, 4.25, 4, rounded down.
    assert counts == [20, 20, 10, 6, 4, 4, 4, 4]


def test_between_two_masks_nothing_moves_and_the_last_step_of_the_way_always_masks() -> None:
    model, optimizer = _twenty(warmup=1, horizon=7, every=4)
    counts = []
    for _ in range(8):
        model.weight.grad = torch.zeros_like(model.weight)
        optimizer.step()
        counts.append(int(optimizer.s.sum()))
    # Steps 4 (t = 4/7: 20 − 16·(1 − 27/343) = 5.26) and 7, the last.
    assert counts == [20, 20, 20, 20, 5, 5, 5, 4]


def test_no_gradient_reaches_a_masked_weight_but_it_comes_back_when_others_shrink() -> None:
    model, optimizer = _twenty(warmup=0, horizon=1, every=1)
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    assert optimizer.s.nonzero().flatten().tolist() == [16, 17, 18, 19]
    # Everyone's gradient is 15.5: those that are there fall to 1.5 … 4.5, those masked keep 1 … 16.
    model.weight.grad = torch.full_like(model.weight, 15.5)
    optimizer.step()
    assert optimizer.s.nonzero().flatten().tolist() == [12, 13, 14, 15]
    assert model.weight.flatten().tolist() == [0.0] * 12 + [13.0, 14.0, 15.0, 16.0] + [0.0] * 4


def test_ties_go_to_the_lower_index() -> None:
    model, optimizer = _twenty(torch.ones(20, dtype=torch.float64), warmup=0, horizon=1, every=1)
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    assert optimizer.s.nonzero().flatten().tolist() == [0, 1, 2, 3]
