"""Soft filter pruning by hand: who is zeroed, that it is trained on, and that it comes back."""

from __future__ import annotations

import torch
from torch import nn

from secateurs import Budget
from secateurs.dynamics import SoftFilter
from secateurs.partition import players, producers

from .nets import batch, conv_bn, cross_entropy, find, vit


def test_filters_are_zeroed_not_what_follows_them_and_go_on_being_trained() -> None:
    model, (x, y) = conv_bn(), batch((2, 6, 6))
    for norm in (model[1], model[4]):  # a filter at zero leaves β, and behind it the rectifier must be open
        norm.bias.data.fill_(0.5)
    found = find(model, x)
    rule = SoftFilter(Budget(groups=5 / 9), warmup=1, horizon=8, every=2)
    optimizer = rule.wrap(torch.optim.SGD(model.parameters(), 0.05), found)
    came_back = set()
    for k in range(9):
        optimizer.zero_grad()
        cross_entropy(model, x, y).backward()
        optimizer.step()
        zero = [m.weight.detach().flatten(1).abs().sum(1) == 0 for m in (model[0], model[3])]
        due = k in (2, 4, 6, 8)
        # Ranks (r + ½)/size of 5 and of 4: the best five are 2 of each layer, and then .5 (of 5) before .375 (of 4).
        assert [int(z.sum()) for z in zero] == ([2, 2] if due else [0, 0])
        assert bool((optimizer.s == 1).all())
        assert all(bool((m.weight != 0).all()) for m in (model[1], model[4]))  # BatchNorm's γ
        if not due and k > 2:
            came_back |= {k}
    assert came_back == {3, 5, 7}
    optimizer.harvest()
    assert torch.equal(~optimizer.kept, torch.cat(zero))  # those that were zeroed last


def test_a_filter_that_grew_past_others_stays() -> None:
    """Norms 3, 2, 1 keep two; the gradient then lifts the zeroed one to 9, and the next look zeroes another."""
    model = nn.Sequential(nn.Linear(1, 3, bias=False), nn.ReLU(), nn.Linear(3, 1)).double()
    model[0].weight.data = torch.tensor([[3.0], [2.0], [1.0]], dtype=torch.float64)
    found = players(model, torch.zeros(2, 1, dtype=torch.float64))
    rule = SoftFilter(Budget(groups=2 / 3), warmup=0, horizon=2, every=1)
    optimizer = rule.wrap(torch.optim.SGD(model.parameters(), 1.0), found)
    for lift, expected in ((0.0, [3.0, 2.0, 0.0]), (9.0, [3.0, 0.0, 9.0])):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        model[0].weight.grad[2] = -lift
        optimizer.step()
        assert model[0].weight.flatten().tolist() == expected
    optimizer.harvest()
    assert optimizer.kept.tolist() == [True, False, True]


def test_producers_are_the_filters() -> None:
    """Against a loop over rows: convolutions, and a head's rows of query, key and value."""
    model = conv_bn()
    norms = producers(find(model, batch((2, 6, 6))[0]))
    sums = norms.sq_norm([p.detach() for p in norms.parameters])
    expected = [float(row.square().sum()) for m in (model[0], model[3]) for row in m.weight.detach()]
    torch.testing.assert_close(sums, torch.tensor(expected, dtype=torch.float64))
    found = find(vit(), batch((1, 8, 8))[0], "head")
    assert producers(found) is not found.gates and producers(found).count == found.count
    weights = find(conv_bn(), batch((2, 6, 6))[0], "weight")
    assert producers(weights) is weights.gates
