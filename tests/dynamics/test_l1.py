"""Group lasso: the proximal step is exactly zero where the lasso is; the subgradient never gets there."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateurs import Budget
from secateurs.dynamics import L1Prox, L1Subgradient, Participating
from secateurs.partition import players

from .nets import batch, cross_entropy, find, mlp

LR, PRICE = 0.1, 0.5
TARGET = torch.tensor([2.0, -1.5, 0.4, -0.3, 0.05, 0.0], dtype=torch.float64)
# ½‖w − b‖² + λ‖w‖₁ is least at the soft-thresholded b: here |b| − ½ where that is positive.
LASSO = torch.tensor([1.5, -1.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)


def _lasso(kind: type[L1Prox] | type[L1Subgradient]) -> tuple[nn.Linear, Participating]:
    model = nn.Linear(6, 1, bias=False).double()
    model.weight.data.fill_(1.0)
    found = players(model, torch.zeros(2, 6, dtype=torch.float64), "weight")
    rule = kind(Budget(groups=2), warmup=0, horizon=1, price=PRICE)
    return model, rule.wrap(torch.optim.SGD(model.parameters(), LR), found)


def _descend(model: nn.Linear, optimizer: Participating) -> Tensor:
    optimizer.zero_grad()
    (0.5 * (model.weight.flatten() - TARGET).square().sum()).backward()
    optimizer.step()
    return model.weight.detach().flatten().clone()


def test_proximal_steps_solve_the_lasso_and_zeros_stay() -> None:
    model, optimizer = _lasso(L1Prox)
    for _ in range(400):
        _descend(model, optimizer)
    for _ in range(50):
        w = _descend(model, optimizer)
        assert bool((w[2:] == 0).all()) and optimizer.s.tolist() == [1, 1, 0, 0, 0, 0]
    torch.testing.assert_close(w, LASSO, rtol=0, atol=1e-12)


def test_a_coordinate_that_should_not_be_zero_leaves_it() -> None:
    model, optimizer = _lasso(L1Prox)
    model.weight.data.zero_()
    optimizer.weights.raw[0].zero_()
    for _ in range(400):
        w = _descend(model, optimizer)
    torch.testing.assert_close(w, LASSO, rtol=0, atol=1e-12)


def test_subgradients_step_over_zero_and_back_for_ever() -> None:
    model, optimizer = _lasso(L1Subgradient)
    for _ in range(1000):
        _descend(model, optimizer)
    seen = torch.stack([_descend(model, optimizer) for _ in range(200)])
    torch.testing.assert_close(seen[-1, :2], LASSO[:2], rtol=0, atol=1e-9)
    assert bool((seen[:, 2:] != 0).all())
    crossings = (seen[1:, 2:].sign() != seen[:-1, 2:].sign()).sum(0)
    assert bool((crossings >= 20).all())  # the sign goes on changing
    size = seen[:, 2:].abs().amax(0) / (LR * PRICE)
    assert bool((size > 0.4).all() and (size < 2.0).all())  # with an amplitude of about lr·λ


def test_a_subgradient_at_zero_is_zero_and_the_price_waits_for_the_warm_up() -> None:
    """Without a loss: 3 stays for two steps, and then falls by lr·λ = 0.05 a step; 0 stays."""
    model = nn.Linear(2, 1, bias=False).double()
    model.weight.data = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    found = players(model, torch.zeros(2, 2, dtype=torch.float64), "weight")
    rule = L1Subgradient(Budget(groups=1), warmup=2, horizon=2, price=PRICE)
    optimizer = rule.wrap(torch.optim.SGD(model.parameters(), LR), found)
    for expected in (3.0, 3.0, 2.95, 2.9):
        model.weight.grad = torch.zeros_like(model.weight)
        optimizer.step()
        assert model.weight.flatten().tolist() == pytest.approx([expected, 0.0])


def test_a_block_is_thresholded_as_one() -> None:
    """θ = ((3, 4), (0.3, 0.4)) with lr·λ = 1: norms 5 → 4 and 0.5 → 0."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1)).double()
    model[0].weight.data = torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64)
    found = players(model, torch.zeros(2, 2, dtype=torch.float64))
    rule = L1Prox(Budget(groups=1), warmup=1, horizon=1, price=10.0)
    optimizer = rule.wrap(torch.optim.SGD(model.parameters(), 0.1), found)
    for expected in ([[3.0, 4.0], [0.3, 0.4]], [[2.4, 3.2], [0.0, 0.0]]):  # the first step warms up
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        torch.testing.assert_close(model[0].weight.data, torch.tensor(expected, dtype=torch.float64))
    assert optimizer.s.tolist() == [1, 0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=12, max_size=12), st.integers(1, 11))
def test_the_price_that_clears_is_the_largest_norm_that_goes(values: list[int], room: int) -> None:
    """Against a sort and a loop; integers, so that there are ties, which the lower index wins."""
    model = nn.Linear(4, 3, bias=False).double()
    model.weight.data = torch.tensor(values, dtype=torch.float64).view(3, 4)
    found = players(model, torch.zeros(2, 4, dtype=torch.float64), "weight")
    rule = L1Prox(Budget(groups=room / 12), warmup=0, horizon=1)
    optimizer = rule.wrap(torch.optim.SGD(model.parameters(), 0.1), found)
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    order = sorted(range(12), key=lambda i: (-abs(values[i]), i))
    price = max(abs(values[i]) for i in order[room:])
    expected = [0.0] * 12
    for i in order[:room]:
        size = abs(values[i])
        left = size - price if size > price else size  # a tie at the price is kept by the budget, and pays nothing
        expected[i] = math.copysign(left, values[i]) if size else 0.0
    assert model.weight.flatten().tolist() == pytest.approx(expected, abs=1e-12)
    assert optimizer.state_of["threshold"] == price


def test_who_is_kept_by_a_limit_below_the_price_pays_nothing() -> None:
    """Layers of two, the second tiny: its best stays because a layer keeps one, with all its weight."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False), nn.ReLU())
    model.append(nn.Linear(2, 1)).double()
    model[0].weight.data = torch.tensor([[5.0], [3.0]], dtype=torch.float64)
    model[2].weight.data = torch.tensor([[0.3, 0.4], [0.0, 0.1]], dtype=torch.float64)
    found = players(model, torch.zeros(2, 1, dtype=torch.float64))
    optimizer = L1Prox(Budget(groups=2), warmup=0, horizon=1).wrap(torch.optim.SGD(model.parameters(), 0.1), found)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert model[0].weight.flatten().tolist() == pytest.approx([2.0, 0.0])  # the price is 3
    assert model[2].weight.flatten().tolist() == pytest.approx([0.3, 0.4, 0.0, 0.0])


def test_the_penalty_is_the_gradient_of_the_sum_of_norms() -> None:
    """Finite differences in float64, at channel granularity where rows and biases belong to one player."""
    model, (x, y) = mlp(), batch((6,))
    found = find(model, x)
    optimizer = L1Subgradient(Budget(groups=0.5), warmup=0, horizon=1, price=0.3).wrap(
        torch.optim.SGD(model.parameters(), 0.0), found
    )
    optimizer.zero_grad()
    cross_entropy(model, x, y).backward()
    plain = {n: p.grad.clone() for n, p in model.named_parameters()}
    optimizer.step()

    def penalty() -> float:
        rows = [(model[0], 5), (model[2], 4)]
        squares = [m.weight.data[g].square().sum() + m.bias.data[g].square() for m, n in rows for g in range(n)]
        return 0.3 * sum(math.sqrt(float(square)) for square in squares)

    step = 1e-6
    for name, parameter in model.named_parameters():
        for i in range(0, parameter.numel(), 3):
            flat = parameter.data.view(-1)
            flat[i] += step
            up = penalty()
            flat[i] -= 2 * step
            down = penalty()
            flat[i] += step
            added = float((parameter.grad - plain[name]).view(-1)[i])
            assert added == pytest.approx((up - down) / (2 * step), abs=1e-8)
