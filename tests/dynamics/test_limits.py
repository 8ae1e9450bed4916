"""Limits during training: who may leave the live network, who is harvested, and that whoever stays can learn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateurs import Budget, Equilibrium, MarketSettings, Utility
from secateurs.dynamics import FixedPrices, Participating, participants
from secateurs.partition import Players

from .nets import batch, cross_entropy, find, mlp

WIDTHS = (6, 20, 20, 13, 3)


def limited(minimum: int, multiple: int, tied: bool) -> tuple[nn.Module, Players]:
    model = mlp(widths=WIDTHS)
    found = find(model, batch((6,))[0]).limit(minimum, round_to=multiple)
    return model, found.tie("0", "2") if tied else found


def widths(found: Players, keep: torch.Tensor) -> list[int]:
    return [int(keep[layer.start : layer.stop].sum()) for layer in found.layers]


def allowed(kept: list[int], found: Players, minimum: int, multiple: int) -> None:
    for layer, count in zip(found.layers, kept):
        assert count >= min(minimum, layer.dense) and (count % multiple == 0 or count == layer.dense)


cases = given(st.integers(0, 9999), st.integers(1, 7), st.integers(1, 9), st.booleans())


@cases
@settings(max_examples=40, deadline=None)
def test_what_stays_of_idle_players_is_a_number_that_is_allowed(
    seed: int, minimum: int, multiple: int, tied: bool
) -> None:
    """Twice: the second time from a network that has been cut, where the whole layer is no choice any more."""
    model, found = limited(minimum, multiple, tied)
    optimizer = Participating(torch.optim.SGD(model.parameters(), 0.1), found, FixedPrices(Utility(), 0.0))
    g = torch.Generator().manual_seed(seed)
    for share in (0.4, 0.3):
        found = optimizer.players
        idle = torch.rand(found.count, generator=g) < share
        optimizer.idle[:] = torch.where(idle, 5, 0)
        optimizer.s[idle] = 0
        leaving = optimizer.idlers(5)
        assert not bool((leaving & ~idle).any())
        left = widths(found, ~leaving)
        allowed(left, found, minimum, multiple)
        for unit in found.units:  # and it is the least that is
            needed = max(widths(found, ~idle)[i] for i in unit.layers)
            assert {left[i] for i in unit.layers} == {next(n for n in unit.counts if n >= needed)}
        optimizer.compact(~leaving)
        assert [x.size for x in optimizer.players.layers] == left
        optimizer.harvest()
        allowed(widths(optimizer.players, optimizer.kept), optimizer.players, minimum, multiple)
        if tied:
            assert len({widths(optimizer.players, optimizer.kept)[i] for i in (0, 1)}) == 1


def test_a_layer_cut_by_hand_below_its_limits_stays_as_it_is() -> None:
    model, found = limited(1, 8, False)
    optimizer = Participating(torch.optim.SGD(model.parameters(), 0.1), found, FixedPrices(Utility(), 0.0))
    keep = torch.ones(found.count, dtype=torch.bool)
    keep[:15] = False
    optimizer.compact(keep)
    assert optimizer.players.units[0].counts.tolist() == [5] and optimizer.players.layers[0].minimum == 5
    optimizer.idle[:] = 9
    assert widths(optimizer.players, ~optimizer.idlers(5)) == [5, 8, 8]


@cases
@settings(max_examples=40, deadline=None)
def test_participants_at_fixed_prices_respect_limits(seed: int, minimum: int, multiple: int, tied: bool) -> None:
    _, found = limited(minimum, multiple, tied)
    g = torch.Generator().manual_seed(seed)
    s = torch.rand(found.count, generator=g, dtype=torch.float64) * (torch.rand(found.count, generator=g) < 0.5)
    keep = participants(found, {}, s)
    allowed(widths(found, keep), found, minimum, multiple)
    assert bool(keep[s >= 0.01].all())
    assert not tied or len(set(widths(found, keep)[:2])) == 1


@pytest.mark.parametrize("inplace", [False, True])
def test_a_layer_is_filled_up_with_players_that_can_learn(inplace: bool) -> None:
    """Two of eight had left for good. Gates at zero behind a ReLU would never get a gradient."""
    model, (x, y) = mlp(widths=(6, 12, 3)), batch((6,), count=64)
    found = find(model, x).limit(round_to=4)
    optimizer = Participating(torch.optim.SGD(model.parameters(), 0.1), found, FixedPrices(Utility(), 0.0))
    optimizer.s[:6] = 0
    with torch.no_grad():
        optimizer.weights.write(optimizer.s)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    gated = model(x).detach()
    small = optimizer.harvest(inplace=inplace)
    assert small[0].out_features == 8 and bool((small[0].weight.detach().abs().sum(1) > 0).all())
    torch.testing.assert_close(small(x), gated, rtol=0, atol=0.05)
    cross_entropy(small, x, y).backward()
    assert bool((small[0].weight.grad.abs().sum(1) > 0).all())
    if not inplace:  # the live network is as it was
        assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_without_rounding_nothing_is_filled_up() -> None:
    model, (x, _) = mlp(widths=(6, 12, 3)), batch((6,))
    optimizer = Participating(torch.optim.SGD(model.parameters(), 0.1), find(model, x), FixedPrices(Utility(), 0.0))
    optimizer.s[:6] = 0
    with torch.no_grad():
        optimizer.weights.write(optimizer.s)
    gated = model(x).detach()
    small = optimizer.harvest()
    assert small[0].out_features == 6
    torch.testing.assert_close(small(x), gated, rtol=0, atol=1e-12)


def test_a_refused_harvest_leaves_the_network_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (x, _) = mlp(widths=(6, 12, 3)), batch((6,))
    found = find(model, x).limit(round_to=4)
    optimizer = Participating(torch.optim.SGD(model.parameters(), 0.1), found, FixedPrices(Utility(), 0.0))
    optimizer.s[:6] = 0
    with torch.no_grad():
        optimizer.weights.write(optimizer.s)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}

    def refuse(*args: object, **kw: object) -> None:
        raise RuntimeError("refused")

    monkeypatch.setattr("secateurs.dynamics.membership.shrink", refuse)
    with pytest.raises(RuntimeError, match="refused"):
        optimizer.harvest(inplace=True)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("budget", [{"groups": 0.4}, {"macs": 0.5}, {"params": 0.4, "macs": 0.5}])
def test_the_market_in_a_loop_of_ones_own(budget: dict[str, float], tied: bool) -> None:
    """Compaction on the way, and a harvest that fits every limit and every budget."""
    model, found = limited(2, 4, tied)
    dense = {name: found.amount(name) for name in budget}
    settings_ = MarketSettings(warmup=2, horizon=30)
    optimizer = Equilibrium(found, Budget(**budget), market=settings_).wrap(torch.optim.Adam(model.parameters(), 0.02))
    compacted = False
    for step in range(40):
        optimizer.zero_grad()
        cross_entropy(model, *batch((6,), seed=step)).backward()
        optimizer.step()
        leaving = optimizer.idlers(3)
        if bool(leaving.any()):
            optimizer.compact(~leaving)
            compacted = True
        allowed([x.size for x in optimizer.players.layers], optimizer.players, 2, 4)
    assert compacted
    small = optimizer.harvest()
    kept = widths(optimizer.players, optimizer.kept)
    allowed(kept, optimizer.players, 2, 4)
    assert not tied or kept[0] == kept[1]
    assert [m.out_features for m in small if isinstance(m, nn.Linear)][:-1] == kept
    for name, amount in budget.items():
        assert optimizer.players.amount(name, optimizer.kept) <= amount * dense[name] * (1 + 1e-9)
