"""Blocks as players: their cost, their slope, and the game's steps on them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import residual_model
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateurs import Budget, Equilibrium, MarketSettings
from secateurs.errors import BudgetError, StructureError
from secateurs.measure import count_bytes, count_macs, count_params
from secateurs.partition import Players, players
from secateurs.structure import shrink
from secateurs.structure.oracle import mask

X = torch.randn(2, 1, 8, 8)


def build() -> nn.Module:
    torch.manual_seed(1)
    model = residual_model.build()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
    return model


def found(model: nn.Module | None = None) -> Players:
    return players(model if model is not None else build().eval(), X, granularity="block")


def test_layers_are_containers_and_players_their_blocks() -> None:
    p = found()
    assert [(x.name, x.kind, x.size, x.minimum) for x in p.layers] == [("3", "block", 3, 0), ("5", "block", 2, 0)]
    assert [x.tied_to for x in p.layers] == [("3.0", "3.1", "3.2"), ("5.1", "5.2")]
    assert set(p.gates.names) == {f"{b}.bn2.{n}" for x in p.layers for b in x.tied_to for n in ("weight", "bias")}


@pytest.mark.parametrize("number", range(32))
def test_amounts_are_those_of_the_smaller_network(number: int) -> None:
    """All masks."""
    p = found()
    keep = torch.tensor([bool(number >> i & 1) for i in range(5)])
    small = shrink(p.model, p.structure, p.atom_mask(keep)).model
    for name, counted in ("params", count_params(small)), ("bytes", count_bytes(small)), ("macs", count_macs(small, X)):
        assert p.amount(name, keep) == pytest.approx(counted, rel=1e-12)
    assert p.amount("groups", keep) == int(keep.sum())


def test_the_marginal_amount_is_what_a_block_costs() -> None:
    p = found()
    for resource in ("params", "macs", "bytes"):
        marginal = p.spread(p.resource(resource).marginal(p.sizes))
        for player in range(p.count):
            keep = torch.arange(p.count) != player
            assert p.amount(resource) - p.amount(resource, keep) == pytest.approx(marginal[player])


def test_the_slope_is_that_of_x_plus_s_times_the_branch() -> None:
    model = build().double().eval()
    x, y = torch.randn(8, 1, 8, 8, dtype=torch.double), torch.randint(10, (8,))
    p = players(model, x, granularity="block")
    F.cross_entropy(model(x), y).backward()
    held = p.gates.parameters
    slope = p.gates.dot([q.grad for q in held], [q.detach() for q in held])  # type: ignore[misc]

    def loss(s: Tensor) -> float:
        with torch.no_grad():
            raw = [q.detach().clone() for q in held]
            p.gates.scaled(raw, s, out=[q.data for q in held])
            value = float(F.cross_entropy(model(x), y))
            for q, r in zip(held, raw):
                q.copy_(r)
        return value

    for player in range(p.count):
        step = torch.zeros(p.count, dtype=torch.double)
        step[player] = 1e-5
        assert (loss(1 + step) - loss(1 - step)) / 2e-5 == pytest.approx(float(slope[player]), rel=1e-5, abs=1e-9)


def test_a_block_that_is_ignored_or_holds_what_is_stays_out() -> None:
    def tied(*ignore: str) -> list[str]:
        p = players(build().eval(), X, granularity="block", ignore=ignore)
        assert p.count == sum(len(layer.tied_to) for layer in p.layers) == len(p.gates.names) // 2
        return [place for layer in p.layers for place in layer.tied_to]

    assert tied("3.1") == ["3.0", "3.2", "5.1", "5.2"]
    assert tied("*.0.conv1", "5") == ["3.1", "3.2"]
    assert tied("3.2.bn1.weight") == ["3.0", "3.1", "5.1", "5.2"]
    with pytest.raises(StructureError, match="nothing is called"):
        tied("3.7")


def test_blocks_alone() -> None:
    with pytest.raises(StructureError, match="'block' cannot be combined"):
        players(build(), X, granularity=("channel", "block"))
    with pytest.raises(StructureError, match=r"5.0: what it returns|no module hands its input on"):
        players(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), torch.randn(2, 3), granularity="block")
    assert all(layer.kind == "channel" for layer in players(build(), X).layers)


def test_limits_hold_for_blocks() -> None:
    p = found().limit({"3": 2})
    assert p.minimum.tolist() == [2, 0] and p.limit(minimum=1).minimum.tolist() == [1, 1]
    with pytest.raises(BudgetError, match="smallest reachable"):
        p.require_reachable({"params": found().resource("params").amount(np.zeros(2))})


def played(steps: int = 30, **budget: float) -> tuple[nn.Module, Any, Players]:
    """A short game on random data."""
    model = build().train()
    p = found(model)
    settings = MarketSettings(warmup=2, horizon=steps - 4)
    optimizer = Equilibrium(p, Budget(**budget), market=settings).wrap(torch.optim.Adam(model.parameters(), 1e-3))
    x, y = torch.randn(16, 1, 8, 8), torch.randint(10, (16,))
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model, optimizer, p


def test_a_layer_without_players_pays_for_coming_back() -> None:
    """The rent of a layer that may lose all of them is not waived at zero."""
    _, optimizer, p = played(macs=0.5)
    rents = optimizer.dynamics.rents(p, optimizer.state_of, np.zeros(p.count))
    assert all((charge > 0).all() for charge in rents.values())


@pytest.mark.parametrize("budget", [{"macs": 0.55}, {"params": 0.5, "macs": 0.6}, {"groups": 0.2}])
def test_the_market_meets_its_budget_and_the_harvest_is_the_masked_network(budget: dict[str, float]) -> None:
    model, optimizer, p = played(**budget)
    small = optimizer.harvest()
    kept = optimizer.kept
    for name, share in budget.items():
        assert p.amount(name, kept) <= share * p.amount(name)
    masked = mask(copy.deepcopy(model), p.structure, p.atom_mask(kept))
    torch.testing.assert_close(small.eval()(X), masked.eval()(X))
    assert count_params(small) == p.amount("params", kept)


def test_idle_blocks_leave_the_live_network_and_training_goes_on() -> None:
    model, optimizer, _ = played(macs=0.8)
    optimizer.s[[0, 3]] = 0.0
    optimizer.weights.write(optimizer.s)
    optimizer.idle[[0, 3]] = 7
    leaving = optimizer.idlers(5)
    assert leaving.nonzero().flatten().tolist() == [0, 3]
    before = model.eval()(X)
    optimizer.compact(~leaving)
    torch.testing.assert_close(model(X), before)
    assert type(model[3][0]) is type(model[5][1]) is nn.Identity  # type: ignore[index]
    assert {id(q) for g in optimizer.param_groups for q in g["params"]} == {id(q) for q in model.parameters()}
    assert [layer.size for layer in optimizer.players.layers] == [2, 1]
    assert [layer.tied_to for layer in found(model).layers] == [("3.1", "3.2"), ("5.2",)]
    state = copy.deepcopy(optimizer.state_dict())
    again, other, _ = played(steps=5, macs=0.8)
    other.load_state_dict(state)
    assert type(again[3][0]) is nn.Identity and torch.equal(other.s, optimizer.s)  # type: ignore[index]
    for one, net in ((optimizer, model), (other, again)):
        one.zero_grad()
        F.cross_entropy(net.train()(X), torch.tensor([1, 2])).backward()
        one.step()
    optimizer.idle[:] = 9
    optimizer.s[:] = 0
    assert not optimizer.idlers(5).any()  # the last ones leave with the harvest
    with pytest.raises(StructureError, match="harvest"):
        optimizer.compact(torch.zeros(3, dtype=torch.bool))
