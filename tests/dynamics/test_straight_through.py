"""Straight-through masks by hand: dense gradients behind a mask, scores that move, weights that stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from secateurs import Budget
from secateurs.dynamics import Participating, StraightThrough
from secateurs.partition import players

from .nets import batch, cross_entropy, find, mlp


def _four(values: list[float], lr: float, **kw: Any) -> tuple[nn.Linear, Participating]:
    model = nn.Linear(2, 2, bias=False).double()
    model.weight.data = torch.tensor(values, dtype=torch.float64).view(2, 2)
    found = players(model, torch.zeros(2, 2, dtype=torch.float64), "weight")
    rule = StraightThrough(Budget(groups=0.5), warmup=0, horizon=1, **kw)
    return model, rule.wrap(torch.optim.SGD(model.parameters(), lr), found)


def _step(model: nn.Linear, optimizer: Participating, grads: list[float]) -> list[float]:
    model.weight.grad = torch.tensor(grads, dtype=torch.float64).view(2, 2)
    optimizer.step()
    return model.weight.flatten().tolist()


def test_masked_weights_are_trained_as_if_they_were_there() -> None:
    model, optimizer = _four([4.0, 3.0, 2.0, 1.0], lr=1.0)
    assert _step(model, optimizer, [0.0] * 4) == [4.0, 3.0, 0.0, 0.0]
    assert _step(model, optimizer, [0.0, 0.0, -0.5, 0.0]) == [4.0, 3.0, 0.0, 0.0]  # latent 2.5
    assert _step(model, optimizer, [0.0, 0.0, -1.0, 0.0]) == [4.0, 0.0, 3.5, 0.0]
    assert optimizer.weights.raw[0].flatten().tolist() == [4.0, 3.0, 3.5, 1.0]


def test_scores_move_by_the_slope_and_weights_may_stay() -> None:
    """Scores start as θ over the root mean square √7.5. Slopes θ·g = (0, 0, −2, 0) have 1: σ₃ rises by 2·rate."""
    model, optimizer = _four([4.0, 3.0, 2.0, 1.0], lr=1.0, latent="score", rate=0.1, frozen=True)
    start = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64) / 7.5**0.5
    torch.testing.assert_close(optimizer.state_of["worth"], start)
    assert _step(model, optimizer, [0.0, 0.0, -1.0, 0.0]) == [4.0, 3.0, 0.0, 0.0]
    start[2] += 0.2
    torch.testing.assert_close(optimizer.state_of["worth"], start)
    assert optimizer.weights.raw[0].flatten().tolist() == [4.0, 3.0, 2.0, 1.0]
    assert _step(model, optimizer, [0.0, 0.0, -1.0, 0.0]) == [4.0, 0.0, 2.0, 0.0]  # 0.7303 + 0.4 passes 1.0954


def test_slopes_are_damped_in_their_running_mean_square() -> None:
    _, optimizer = _four([1.0] * 4, lr=0.0, latent="score", rate=1.0, damping=0.5)
    model = optimizer.players.model
    _step(model, optimizer, [2.0] * 4)  # mean square 4: σ falls by 1
    assert optimizer.state_of["worth"].tolist() == pytest.approx([0.0] * 4)
    optimizer.s.fill_(1.0)
    _step(model, optimizer, [4.0] * 4)  # (½·½·4 + ½·16)/(1 − ¼) = 12
    assert optimizer.state_of["worth"].tolist() == pytest.approx([-4 / 12**0.5] * 4)


def test_a_subnetwork_of_frozen_weights_learns() -> None:
    """Edge-popup: the mask alone takes the loss well below that of the same number of weights at random."""
    torch.manual_seed(0)
    model, (x, y) = mlp(widths=(6, 40, 40, 3)), batch((6,), count=64)
    found = find(model, x, "weight")
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=2 / p.shape[1] ** 0.5)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.dim() > 1}
    rule = StraightThrough(Budget(groups=0.5), warmup=0, horizon=200, latent="score", frozen=True)
    optimizer = rule.wrap(torch.optim.SGD(model.parameters(), 0.5, momentum=0.9, weight_decay=0.1), found)
    for p in model.parameters():
        p.requires_grad_(p.dim() > 1)
    for _ in range(220):
        optimizer.zero_grad()
        cross_entropy(model, x, y).backward()
        optimizer.step()
    small = optimizer.harvest()
    for name, p in small.named_parameters():
        if name in before:
            assert bool(((p == before[name]) | (p == 0)).all())
    shuffled = []
    for seed in range(20):
        keep = torch.randperm(found.count, generator=torch.Generator().manual_seed(seed)) < found.count // 2
        held = [before[n] for n in found.gates.names]
        found.gates.scaled(held, keep.double(), out=[p.data for p in found.gates.parameters])
        shuffled.append(float(cross_entropy(model, x, y).detach()))
    assert float(cross_entropy(small, x, y).detach()) < 0.5 * min(shuffled)
