"""Concave masks: the projected step by hand, known minimisers, a price that meets the budget, frozen weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from secateurs import Budget
from secateurs.dynamics import Arithmetic, ConcaveMask, Participating, Pulse
from secateurs.dynamics.pricing import SNAP
from secateurs.maths import PENALTIES
from secateurs.partition import Players

from .nets import batch, conv_bn, cross_entropy, find, mlp


def _found(granularity: str = "channel") -> Players:
    return find(mlp(widths=(6, 12, 9, 3)), batch((6,))[0], granularity)


def _pulse(found: Players, step: int, s: Tensor, slope: Tensor) -> Pulse:
    return Pulse(step, s, slope, Arithmetic(found.gates, [p.detach() for p in found.gates.parameters], s))


def _bare(found: Players, **given: Any) -> tuple[ConcaveMask, dict[str, Any]]:
    dynamics = ConcaveMask(Budget(groups=0.5), warmup=0, horizon=10, damping=0.0, normalised=False, **given)
    return dynamics, dynamics.init(found)


def test_one_step_by_hand() -> None:
    """m' = clip(m − 0.1·(∂L/∂m + 0.5·R'(m))): with log, κ = 0.1, R'(½) = 1/(0.6·log 11) = 0.69505."""
    found = _found()
    dynamics, state = _bare(found, lam=0.5, rate=0.1)
    s = dynamics.begin(found, state)
    assert s.tolist() == [0.5] * 21
    slope = torch.zeros(21, dtype=torch.float64)
    slope[:3] = torch.tensor([2.0, -30.0, 30.0])
    after = dynamics.step(found, state, _pulse(found, 0, s, slope))
    charge = 0.1 * 0.5 / (0.6 * math.log(11))
    assert after[:4].tolist() == pytest.approx([0.5 - 0.2 - charge, 1.0, 0.0, 0.5 - charge], abs=1e-12)


def test_slopes_are_divided_by_their_root_mean_square() -> None:
    found = _found()
    dynamics = ConcaveMask(Budget(groups=0.5), warmup=0, horizon=10, damping=0.0, lam=0.0, rate=0.01)
    state = dynamics.init(found)
    slope = torch.randn(21, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    after = dynamics.step(found, state, _pulse(found, 0, torch.full_like(slope, 0.5), 1e6 * slope))
    torch.testing.assert_close(after, 0.5 - 0.01 * slope / slope.square().mean().sqrt())


@pytest.mark.parametrize("name", list(PENALTIES))
def test_it_converges_to_the_minimiser_of_a_convex_quadratic(name: str) -> None:
    """L = ½Σh(m − c)². With ℓ1: m* = clip(c − λ/h, 0, 1). Else a minimiser found on a grid among stationary points: the
    objective there is no higher than anywhere near, and with h this large it is strictly convex, so that it is the
    only one."""
    found = _found()
    g = torch.Generator().manual_seed(3)
    h = 60 + 20 * torch.rand(21, generator=g, dtype=torch.float64)
    c = torch.linspace(-0.1, 1.1, 21, dtype=torch.float64)
    lam = 0.4
    dynamics, state = _bare(found, lam=lam, rate=0.005, regulariser=name)
    m = dynamics.begin(found, state)
    for step in range(3000):
        m = dynamics.step(found, state, _pulse(found, step, m, h * (m - c)))
    if name == "l1":
        torch.testing.assert_close(m, (c - lam / h).clamp(0, 1), rtol=0, atol=1e-9)
    grid = np.linspace(0, 1, 20001)
    value = 0.5 * h.numpy()[:, None] * (grid - c.numpy()[:, None]) ** 2 + lam * dynamics.rent.amount(grid)
    np.testing.assert_allclose(m.numpy(), grid[value.argmin(1)], atol=1e-4)


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize("name", list(PENALTIES))
def test_the_price_meets_the_path_at_every_step(name: str, granularity: str) -> None:
    """Σ R(m') = path, which leads from what m = ½ demands to the budget; m' is the projected step at that price."""
    found = _found(granularity)
    n = found.count
    dynamics = ConcaveMask(Budget(groups=0.3), warmup=2, horizon=30, rate=0.08, regulariser=name)
    state = dynamics.init(found)
    g = torch.Generator().manual_seed(4)
    s = dynamics.begin(found, state)
    bias = torch.randn(n, generator=g, dtype=torch.float64)
    start = n * float(dynamics.rent.amount(np.array([0.5]))[0])
    bound = 0
    for step in range(45):
        slope = bias + torch.randn(n, generator=g, dtype=torch.float64)
        after = dynamics.step(found, state, _pulse(found, step, s, slope))
        left = (1 - min(1.0, max(0.0, (step - 1) / 30))) ** 3
        path = 0.3 * n + (start - 0.3 * n) * left
        assert state["path.groups"] == pytest.approx(path)
        if step < 2:
            assert torch.equal(after, s)
            continue
        demand, price = float(dynamics.rent.amount(after.double().numpy()).sum()), state["price.groups"]
        snapped = n * float(dynamics.rent.amount(np.array([SNAP]))[0])
        assert demand <= path + 2e-6 * n
        if price > 1e-9:
            bound += 1
            assert demand >= path - 2e-6 * n - snapped
        charge = 0.08 * price * torch.from_numpy(dynamics.rent.slope(s.double().numpy()))
        mass = found.mass(dynamics.rent.amount(s.double().numpy()))
        charge[torch.from_numpy(found.spread(mass) <= found.spread(found.minimum))] = 0.0
        wish = (s + 0.08 * state["benefit"] - charge).clamp(0, 1)
        torch.testing.assert_close(after, torch.where(wish < SNAP, 0.0, wish), rtol=0, atol=1e-6)
        s = after
    assert bound > 20
    assert int(dynamics.keep(found, state, s).sum()) == int(0.3 * n)


@pytest.mark.parametrize("lam", [None, 0.1])
def test_who_was_pruned_before_stays_at_zero(lam: float | None) -> None:
    found = _found()
    members = torch.arange(21) % 3 != 0
    dynamics = ConcaveMask(Budget(groups=8), warmup=0, horizon=5, rate=0.1, lam=lam, members=members)
    state = dynamics.init(found)
    s = dynamics.begin(found, state)
    assert torch.equal(s, 0.5 * members.double())
    for step in range(8):
        # everyone who had left would gain most
        slope = torch.where(members, torch.linspace(-1, 1, 21, dtype=torch.float64), -50.0)
        s = dynamics.step(found, state, _pulse(found, step, s, slope))
        assert bool((s[~members] == 0).all())
    kept = dynamics.keep(found, state, s)
    assert int(kept.sum()) == 8 and not bool((kept & ~members).any())
    unit = math.sqrt(float((torch.linspace(-1, 1, 21, dtype=torch.float64)[members] ** 2).mean()))
    assert math.sqrt(state["square"] / (1 - 0.9**8)) == pytest.approx(unit)


@pytest.mark.parametrize("alpha", [None, 0.05])
def test_the_threshold_keeps_whoever_is_above_it(alpha: float | None) -> None:
    found = _found("weight")
    dynamics = ConcaveMask(Budget(groups=0.5), warmup=0, horizon=5, choice="threshold", alpha=alpha)
    state = dynamics.init(found)
    g = torch.Generator().manual_seed(1)
    high = torch.rand(found.count, generator=g) < 0.1
    low = 0.04 * torch.rand(found.count, generator=g)
    s = torch.where(high, 0.7 + 0.3 * torch.rand(found.count, generator=g), low).double()
    assert torch.equal(dynamics.keep(found, state, s), high)  # a tenth, whatever the budget is


def _trained(found: Players, dynamics: ConcaveMask, steps: int, x: Tensor, y: Tensor) -> Participating:
    model = found.model
    optimizer = dynamics.wrap(torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-2), found)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model, x, y).backward()
        optimizer.step()
    return optimizer


def test_frozen_weights_do_not_move_and_the_mask_does() -> None:
    model, (x, y) = conv_bn(), batch((2, 6, 6))
    found = find(model, x, "weight")
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = _trained(found, ConcaveMask(Budget(groups=0.5), warmup=0, horizon=8, frozen=True), 8, x, y)
    for name, held in zip(found.gates.names, optimizer.weights.raw):
        assert torch.equal(held, before[name])
    gated = set(found.gates.names)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters() if n not in gated)
    assert float((optimizer.s - 0.5).abs().max()) > 0.1
    free = find(conv_bn(), x, "weight")
    moving = _trained(free, ConcaveMask(Budget(groups=0.5), warmup=0, horizon=8), 8, x, y)
    assert not all(torch.equal(h, before[n]) for n, h in zip(free.gates.names, moving.weights.raw))


def test_weight_decay_acts_where_no_gauge_holds_the_weights() -> None:
    x, _ = batch((6,))
    for gauge, shrinks in (("none", True), ("norm", False)):
        found = _found()
        optimizer = ConcaveMask(Budget(groups=0.5), warmup=9, horizon=9, gauge=gauge).wrap(
            torch.optim.SGD(found.model.parameters(), 0.1, weight_decay=0.1), found
        )
        before = [t.clone() for t in optimizer.weights.raw]
        (0 * found.model(x).sum()).backward()
        optimizer.step()
        for held, t in zip(before, optimizer.weights.raw):
            torch.testing.assert_close(t, held * (0.99 if shrinks else 1.0))


@pytest.mark.parametrize("build, shape", [(mlp, (6,)), (conv_bn, (2, 6, 6))], ids=["mlp", "conv"])
def test_the_harvested_network_is_the_masked_one_at_the_exact_budget(build: Any, shape: tuple[int, ...]) -> None:
    model, (x, y) = build(), batch(shape)
    found = find(model, x)
    optimizer = _trained(found, ConcaveMask(Budget(groups=5), warmup=0, horizon=20, gauge="norm"), 20, x, y)
    assert float(optimizer.s.min()) >= 0 and float(optimizer.s.max()) <= 1
    small = optimizer.harvest()
    assert int(optimizer.kept.sum()) == 5
    with torch.no_grad():
        optimizer.weights.write(optimizer.s * optimizer.kept)
    masked = model.eval()(x)
    torch.testing.assert_close(small.eval()(x), masked)
    norms = found.gates.sq_norm(optimizer.weights.raw).sqrt()
    assert bool((norms <= optimizer.radius * (1 + 1e-9)).all())


def test_the_same_run_twice_and_one_that_was_saved() -> None:
    x, y = batch((6,))
    settings: dict[str, Any] = {"warmup": 2, "horizon": 10, "settle": 0.2, "look": 2}
    whole = _trained(_found(), ConcaveMask(Budget(groups=0.4), **settings), 12, x, y)
    again = _trained(_found(), ConcaveMask(Budget(groups=0.4), **settings), 12, x, y)
    assert torch.equal(whole.s, again.s)
    half = _trained(_found(), ConcaveMask(Budget(groups=0.4), **settings), 6, x, y)
    found = _found()
    resumed = _trained(found, ConcaveMask(Budget(groups=0.4), **settings), 0, x, y)
    found.model.load_state_dict(half.players.model.state_dict())
    resumed.load_state_dict(half.state_dict())
    for _ in range(6):
        resumed.zero_grad()
        cross_entropy(found.model, x, y).backward()
        resumed.step()
    assert torch.equal(resumed.s, whole.s)
    assert {k: v for k, v in resumed.state_of.items() if not isinstance(v, Tensor)} == {
        k: v for k, v in whole.state_of.items() if not isinstance(v, Tensor)
    }


def test_a_mask_that_no_longer_changes_has_settled() -> None:
    found = _found()
    dynamics = ConcaveMask(Budget(groups=0.3), warmup=0, horizon=400, rate=0.002, settle=0.0, look=5, patience=3)
    state = dynamics.init(found)
    s = dynamics.begin(found, state)
    slope = torch.linspace(-1, 1, 21, dtype=torch.float64)
    calm = []
    for step in range(80):
        sign = -1 if step < 10 else 1  # the order turns round once
        s = dynamics.step(found, state, _pulse(found, step, s, sign * slope))
        calm.append(state["calm"])
    assert calm[4] == 0 and calm[9] == 1 and not dynamics.settled({**state, "calm": 2})
    assert 0 in calm[10:] and dynamics.settled({**state, "calm": 3})
    never = ConcaveMask(Budget(groups=0.3), warmup=0, horizon=400, rate=0.002)
    held = never.init(found)
    never.step(found, held, _pulse(found, 19, s, slope))
    assert held["looks"] == 0


def test_names_of_penalties_are_checked_and_knees_reach_them() -> None:
    with pytest.raises(ValueError, match="regulariser"):
        ConcaveMask(Budget(groups=0.5), regulariser="l3")
    assert ConcaveMask(Budget(groups=0.5), knee=0.02).rent == PENALTIES["log"](knee=0.02)
