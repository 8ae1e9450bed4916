"""The market: it clears exactly, as the multiplier of a projection, for one budget or several at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateurs import Budget, Equilibrium, MarketSettings
from secateurs.dynamics import Arithmetic, Market, Pulse
from secateurs.dynamics.pricing import SNAP
from secateurs.errors import BudgetError
from secateurs.partition import Players

from .nets import batch, conv_bn, cross_entropy, find, mlp

TOLERANCE = 1e-6  # of the dense amount: how closely a price is solved for
WIDTHS = (6, 12, 9, 3)


def _players() -> Players:
    model = mlp(widths=WIDTHS)
    return find(model, batch((6,))[0])


def _pulse(found: Players, step: int, s: Tensor, slope: Tensor) -> Pulse:
    raw = [p.detach() for p in found.gates.parameters]
    return Pulse(step, s, slope, Arithmetic(found.gates, raw, s))


def _demand(market: Market, found: Players, s: Tensor, name: str) -> float:
    """R(φ(s)) of an MLP written out: widths are the sums of φ."""
    knee = market.settings.knee
    linear = market.settings.rent == "linear"
    phi = [x if linear else math.log1p(x / knee) / math.log1p(1 / knee) for x in s.tolist()]
    a, b = sum(phi[:12]), sum(phi[12:])
    count = {"groups": a + b, "macs": 6 * a + a * b + 3 * b, "params": 7 * a + (a + 1) * b + 3 * b + 3}
    count["bytes"] = 8 * count["params"]
    return count[name]


def _rent(market: Market, found: Players, s: Tensor, name: str, dense: float) -> Tensor:
    """∂R/∂s by central differences, in units of dense/players; none for a layer at its minimum."""
    h, out = 1e-6, torch.zeros(21, dtype=torch.float64)
    mass = [float(market.rent.amount(layer.numpy()).sum()) for layer in (s[:12], s[12:])]
    for g in range(21):
        if mass[g >= 12] <= 1:
            continue
        up, down = s.clone(), s.clone()
        up[g] += h
        down[g] -= h if float(s[g]) >= h else 0.0
        width = float(up[g] - down[g])
        out[g] = (_demand(market, found, up, name) - _demand(market, found, down, name)) / width
    return out * 21 / dense


BUDGETS: list[dict[str, float]] = [
    {"groups": 0.3},
    {"macs": 0.2},
    {"params": 0.4},
    {"bytes": 0.5},
    {"macs": 0.3, "params": 0.25},
    {"groups": 0.5, "macs": 0.15, "params": 0.5, "bytes": 0.3},
]


@pytest.mark.parametrize("rent", ["concave", "linear"])
@pytest.mark.parametrize("budget", BUDGETS, ids=lambda b: "+".join(b))
def test_every_step_is_the_projection_onto_every_budget(budget: dict[str, float], rent: Any) -> None:
    """Clearing, complementary slackness, and s' = clip(s + η(b − Σγc/share)) with rents recomputed by differences."""
    found = _players()
    market = Market(Budget(**budget), MarketSettings(warmup=3, horizon=30, rent=rent, rate=0.08))
    state = market.init(found)
    g = torch.Generator().manual_seed(4)
    s = torch.ones(21, dtype=torch.float64)
    bias = torch.randn(21, generator=g, dtype=torch.float64)
    binding: dict[str, int] = dict.fromkeys(budget, 0)
    for step in range(45):
        slope = bias + torch.randn(21, generator=g, dtype=torch.float64)
        new = market.step(found, state, _pulse(found, step, s, slope))
        if step < 3:
            assert torch.equal(new, s)
            continue
        wish = s + 0.08 * state["benefit"]
        for name in budget:
            dense, price = market.dense[name], state[f"price.{name}"]
            wish = wish - 0.08 * price * _rent(market, found, s, name, dense) / state[f"share.{name}"]
            demand, path = _demand(market, found, new, name), market.path(name, step)
            assert state[f"path.{name}"] == path and price >= 0
            assert demand <= path + 2 * TOLERANCE * dense + 12 * SNAP, (step, name)
            assert state[f"demand.{name}"] == pytest.approx(demand, abs=21 * SNAP * dense)
            if price > 1e-9:
                binding[name] += 1
                assert demand >= path - (2 * TOLERANCE + 21 * SNAP) * dense, (step, name, price)
        expected = wish.clamp(0, 1)
        torch.testing.assert_close(new, torch.where(expected < SNAP, 0.0, expected), rtol=0, atol=3e-5)
        s = new
    assert max(binding.values()) > 10
    kept = market.keep(found, state, s)
    assert all(found.amount(n, kept) <= v * market.dense[n] + 1e-9 for n, v in budget.items())


def test_the_path_descends_as_a_cubic_from_dense_to_the_budget() -> None:
    found = _players()
    market = Market(Budget(groups=0.5), MarketSettings(warmup=10, horizon=100))
    market.init(found)
    assert market.path("groups", 0) == 21 and market.path("groups", 9) == 21
    assert market.path("groups", 59) == pytest.approx(10.5 + 10.5 * 0.5**3)
    assert market.path("groups", 109) == market.path("groups", 10_000) == 10.5


def test_a_slack_budget_has_no_price() -> None:
    found = _players()
    market = Market(Budget(groups=1.0, macs=0.999), MarketSettings(warmup=0, horizon=10, rate=0.1))
    state = market.init(found)
    s = torch.ones(21, dtype=torch.float64)
    for step in range(10):
        s = market.step(found, state, _pulse(found, step, s, torch.ones(21, dtype=torch.float64)))  # a harm to all
        assert state["price.groups"] == state["price.macs"] == 0
    assert bool((s < 1).all())


def test_benefits_are_damped_and_without_unit() -> None:
    found = _players()
    slopes = torch.randn(8, 21, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    results = []
    for unit in (1.0, 1e-4):
        market = Market(Budget(groups=0.4), MarketSettings(warmup=0, horizon=6, damping=0.5, proportion=0.0))
        state = market.init(found)
        s = torch.ones(21, dtype=torch.float64)
        for step, slope in enumerate(slopes):
            s = market.step(found, state, _pulse(found, step, s, unit * slope))
        results.append((s, state))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=1e-6)
    square, benefit = 0.0, torch.zeros(21, dtype=torch.float64)
    for k, slope in enumerate(slopes, 1):
        square = 0.5 * square + 0.5 * float(slope.square().mean())
        benefit = 0.5 * benefit - 0.5 * slope / (square / (1 - 0.5**k)) ** 0.5
    torch.testing.assert_close(results[0][1]["benefit"], benefit, rtol=1e-9, atol=1e-12)


def test_fair_share_is_what_a_layer_uses_over_the_mean() -> None:
    found = _players()
    for proportion in (0.0, 0.5, 1.0):
        market = Market(Budget(groups=0.4, macs=0.5), MarketSettings(proportion=proportion))
        state = market.init(found)
        mean = (12 * 12 + 9 * 9) / 21
        share = state["share.groups"]
        torch.testing.assert_close(share[0], torch.tensor((12 / mean) ** proportion, dtype=torch.float64))
        torch.testing.assert_close(share[-1], torch.tensor((9 / mean) ** proportion, dtype=torch.float64))
        full = found.amount("macs")
        for layer in (0, 1):  # a layer's share of the MACs: what would go if all of it went
            span = found.layers[layer]
            keep = torch.ones(21, dtype=torch.bool)
            keep[span.start : span.stop] = False
            freed = full - found.amount("macs", keep)
            ratio = state["share.macs"][span.start] / state["share.macs"][0]
            first = full - found.amount("macs", torch.arange(21) >= 12)
            assert float(ratio) == pytest.approx((freed / first) ** proportion)


def test_at_full_proportion_layers_pay_the_same_in_sum() -> None:
    """Every layer's rents add up to the same, for every resource: at equal benefits in sum, all stay or go together."""
    found = _players()
    market = Market(Budget(groups=0.4, macs=0.5), MarketSettings(proportion=1.0))
    state = market.init(found)
    for rent in market.rents(found, state, np.ones(21)).values():
        assert rent[:12].sum() == pytest.approx(rent[12:].sum())


def test_the_step_projects_onto_the_budget_in_the_metric_of_the_shares() -> None:
    """Linear rent, players inside (0, 1): KKT of min Σ share·(s' − wish)² subject to Σ s' = path."""
    found = _players()
    settings = MarketSettings(warmup=0, horizon=50, rate=0.01, rent="linear", damping=0.0)
    market = Market(Budget(groups=0.4), settings)
    state = market.init(found)
    s = torch.linspace(0.4, 0.6, 21, dtype=torch.float64)
    after = market.step(found, state, _pulse(found, 49, s, torch.linspace(-1, 1, 21, dtype=torch.float64)))
    wish = s + 0.01 * state["benefit"]
    inside = (after > 0) & (after < 1)
    force = (state["share.groups"] * (wish - after))[inside]
    assert int(inside.sum()) > 10 and float(force.std()) < 1e-9 * float(force.abs().mean())


def test_rents_are_the_penalties_that_their_names_say() -> None:
    s = np.linspace(0, 1, 50)
    np.testing.assert_array_equal(MarketSettings(rent="linear").penalty.amount(s), s)
    concave = MarketSettings(rent="concave", knee=0.2).penalty
    np.testing.assert_allclose(concave.amount(s), np.log(1 + s / 0.2) / math.log(6), rtol=1e-14)


def test_budgets_that_cannot_be() -> None:
    found = _players().limit(4)
    with pytest.raises(BudgetError, match=r"groups=0\.2 is 4 groups.*the smallest reachable here is 8"):
        Market(Budget(groups=0.2), MarketSettings()).init(found)
    with pytest.raises(BudgetError, match="smallest reachable"):
        Equilibrium(found, Budget(macs=0.01)).wrap(torch.optim.SGD(found.model.parameters(), 0.1))
    with pytest.raises(BudgetError, match=r"latency=2ms: nobody has measured"):
        Market(Budget(latency=2), MarketSettings()).init(found)
    with pytest.raises(BudgetError, match="not both"):
        from secateurs import Utility

        Equilibrium(found, Budget(groups=0.5), utility=Utility())
    with pytest.raises(BudgetError, match="above the dense"):
        Market(Budget(groups=22), MarketSettings()).init(found)


@given(st.integers(0, 10_000), st.sampled_from(BUDGETS), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_the_final_cut_holds_every_budget_and_every_minimum(seed: int, budget: dict[str, float], minimum: int) -> None:
    found = _players().limit(minimum)
    market = Market(Budget(**budget), MarketSettings(warmup=0, horizon=8, rate=0.15))
    try:
        state = market.init(found)
    except BudgetError:
        return
    g = torch.Generator().manual_seed(seed)
    s = torch.ones(21, dtype=torch.float64)
    for step in range(10):
        slope = torch.randn(21, generator=g, dtype=torch.float64)
        s = market.step(found, state, _pulse(found, step, s, slope))
        assert bool(((s == 0) | (s >= SNAP)).all()) and bool((s <= 1).all()) and bool(s.isfinite().all())
    mask = market.keep(found, state, s)
    assert all(found.amount(n, mask) <= t * (1 + 1e-9) for n, t in market.targets.items())
    assert int(mask[:12].sum()) >= minimum and int(mask[12:].sum()) >= minimum


@pytest.mark.parametrize(("budget", "minimum"), [("macs", 1), ("params", 3), ("both", 2)])
def test_budgets_at_the_floor_hold_at_every_step(budget: str, minimum: int) -> None:
    """Layers at their minimum pay nothing, so fast players may want more than there is at any price."""
    found = find(mlp(widths=(6, 40, 30, 3)), batch((6,))[0]).limit(minimum)
    floor = {n: found.resource(n).amount(found.minimum) for n in ("macs", "params", "groups")}
    wanted = (
        {"params": floor["params"] * 1.05, "groups": floor["groups"] * 1.2}
        if budget == "both"
        else {budget: floor[budget]}
    )
    market = Market(Budget(**wanted), MarketSettings(warmup=0, horizon=40, rate=0.5))
    state = market.init(found)
    g = torch.Generator().manual_seed(8)
    s = torch.ones(70, dtype=torch.float64)
    for step in range(80):
        s = market.step(found, state, _pulse(found, step, s, torch.randn(70, generator=g, dtype=torch.float64)))
        assert bool(s.isfinite().all())
        for name in wanted:
            assert state[f"demand.{name}"] <= state[f"path.{name}"] + 1e-5 * market.dense[name], (step, name)
            assert state[f"price.{name}"] < 1e6
    mask = market.keep(found, state, s)
    assert int(mask[:40].sum()) >= minimum and int(mask[40:].sum()) >= minimum


def test_in_training_demand_meets_the_path() -> None:
    for build, shape in ((mlp, (6,)), (conv_bn, (2, 6, 6))):
        model, (x, y) = build(), batch(shape)
        found = find(model, x)
        optimizer = Equilibrium(found, Budget(macs=0.5, params=0.6), market=MarketSettings(warmup=5, horizon=30)).wrap(
            torch.optim.Adam(model.parameters(), 0.01)
        )
        for k in range(40):
            optimizer.zero_grad()
            cross_entropy(model, x, y).backward()
            optimizer.step()
            state = optimizer.state_of
            if k < 5:
                assert bool((optimizer.s == 1).all())
            for name in ("macs", "params"):
                assert state[f"demand.{name}"] <= state[f"path.{name}"] * (1 + 1e-5)
        small = optimizer.harvest()
        assert optimizer.certificate is not None and optimizer.certificate.market_clearing_error is not None
        assert isinstance(small, nn.Module) and optimizer.certificate.scope == "market"


def test_certificate_of_the_market_against_brute_force() -> None:
    """max over s' in a fine grid of b·s' − paid·φ(s'), at the prices of the last step."""
    found = _players()
    market = Market(Budget(groups=0.4), MarketSettings(warmup=0, horizon=10, rate=0.1, proportion=0.0))
    state = market.init(found)
    g = torch.Generator().manual_seed(0)
    s = torch.ones(21, dtype=torch.float64)
    for step in range(12):
        s = market.step(found, state, _pulse(found, step, s, torch.randn(21, generator=g, dtype=torch.float64)))
    kept = _chosen = s > 0.5
    raw = [p.detach() for p in found.gates.parameters]
    certificate = market.certify(found, state, s, kept, Arithmetic(found.gates, raw, s))
    b, paid = state["benefit"], torch.full((21,), state["price.groups"], dtype=torch.float64)
    grid = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    rent, own = (torch.from_numpy(market.rent.amount(t.numpy())) for t in (grid, s))
    gap = (grid * b - paid * rent).max(0).values - (s * b - paid * own)
    assert certificate.nash_gap == pytest.approx(float(gap.max()), abs=1e-9)
    assert certificate.nash_gap_median == pytest.approx(float(gap.median()), abs=1e-9)
    assert certificate.dominated == int((b < paid).sum())
    assert certificate.dominated_and_removed == int(((b < paid) & ~_chosen).sum())
    assert certificate.undominated_and_kept == int(((b >= paid) & _chosen).sum())
    agree = int(((b < paid) != _chosen).sum())
    assert f" {agree} of 21 could not gain by changing sides (kept or removed) alone;" in certificate.sentence


def test_two_budgets_that_bind_together() -> None:
    """A wide input makes the first layer dear in MACs; groups are scarce too. Neither price alone would do."""
    found = find(mlp(widths=(30, 12, 9, 3)), batch((30,))[0])
    both = 0
    for seed in range(20):
        market = Market(
            Budget(groups=0.55, macs=0.45), MarketSettings(warmup=0, horizon=20, rate=0.3, damping=0.0, proportion=0.0)
        )
        state = market.init(found)
        g = torch.Generator().manual_seed(seed)
        s = torch.ones(21, dtype=torch.float64)
        for step in range(25):
            slope = torch.randn(21, generator=g, dtype=torch.float64) - torch.tensor([0.9] * 12 + [0.0] * 9)
            s = market.step(found, state, _pulse(found, step, s, slope))
            for name in ("groups", "macs"):
                gap = (state[f"demand.{name}"] - state[f"path.{name}"]) / market.dense[name]
                assert gap <= 2e-6, (seed, step, name)
                if state[f"price.{name}"] > 1e-6:
                    assert gap >= -5e-4, (seed, step, name, gap)  # slack budgets have no price
            both += min(state["price.groups"], state["price.macs"]) > 1e-6
    assert both >= 10


def test_a_head_for_training_has_no_macs_and_pays_none() -> None:
    class Headed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.out = nn.Linear(6, 8), nn.Linear(8, 3)
            self.aux = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            h = self.stem(x).relu()
            return (self.out(h), self.aux(h)) if self.training else (self.out(h),)

    found = find(Headed().double(), torch.randn(4, 6).double())
    assert [layer.name for layer in found.layers] == ["stem", "aux.0"]
    market = Market(Budget(macs=0.5), MarketSettings(warmup=0, horizon=2))
    state, s = market.init(found), torch.ones(13, dtype=torch.float64)
    for step in range(3):
        s = market.step(found, state, _pulse(found, step, s, -torch.rand(13, dtype=torch.float64)))
    assert bool((s[8:] == 1).all()) and float(s[:8].sum()) < 8
    assert market.rents(found, state, s.numpy())["macs"][8:].tolist() == [0.0] * 5


def test_a_market_wraps_as_equilibrium_does() -> None:
    """The rule is the flagship without its conveniences: layers before BatchNorm keep their largest s at 1."""
    timing, budget = MarketSettings(warmup=1, horizon=4), Budget(macs=0.5)
    ends = []
    for rule in (True, False):
        model = conv_bn()
        found = find(model, batch((2, 6, 6))[0][:2])
        sgd = torch.optim.SGD(model.parameters(), 0.05)
        market, game = Market(budget, timing), Equilibrium(found, budget, market=timing)
        wrapped = market.wrap(sgd, found) if rule else game.wrap(sgd)
        for step in range(5):
            wrapped.zero_grad()
            cross_entropy(model, *batch((2, 6, 6), seed=step)).backward()
            wrapped.step()
        assert any(wrapped.scale_free)
        ends.append(wrapped.s)
    assert torch.equal(*ends)


def test_a_step_is_short_however_few_there_are() -> None:
    """In a market of 100 steps, 70 travels would be 0.7 a step: what one batch says would send players out."""
    assert MarketSettings(horizon=100).eta == 0.1 and MarketSettings(horizon=7000).eta == pytest.approx(0.01)
    assert MarketSettings(horizon=100, rate=0.7).eta == 0.7, "as asked"
