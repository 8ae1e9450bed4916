"""The exact cut: counts, feasibility, maximality, ties, minimums, against brute force and against the real network."""

from __future__ import annotations

import itertools
from functools import lru_cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateurs.errors import BudgetError
from secateurs.measure import count_bytes, count_macs, count_params
from secateurs.partition import Players, players
from secateurs.selection import fit_budget, top_k
from secateurs.structure import shrink
from secateurs.zoo.resnet import resnet20
from secateurs.zoo.vit import ViT

RESOURCES = ("groups", "params", "macs", "bytes")


def _mlp(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@lru_cache
def _found(name: str) -> tuple[nn.Module, Tensor, Players]:
    torch.manual_seed(0)
    if name == "mlp":
        model, x = _mlp(5, 9, 6, 3), torch.randn(2, 5)
    elif name == "tiny":
        model, x = _mlp(3, 4, 3, 2), torch.randn(2, 3)
    elif name == "resnet":
        model, x = resnet20(10, (3, 8, 8)), torch.randn(2, 3, 8, 8)
    elif name == "vit":
        model, x = ViT((1, 8, 8), 3, patch=4, width=8, depth=2, heads=4, hidden=6), torch.randn(2, 1, 8, 8)
    else:
        raise KeyError(name)
    return model, x, players(model, x, ("channel", "head") if name == "vit" else "channel")


def _priority(found: Players, seed: int, ties: bool) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 3, (found.count,), generator=g).float() if ties else torch.rand(found.count, generator=g)


@st.composite
def _cases(draw):
    name = draw(st.sampled_from(["mlp", "resnet", "vit"]))
    seed, ties, minimum = draw(st.integers(0, 9999)), draw(st.booleans()), draw(st.integers(1, 3))
    wanted = draw(st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=3, unique=True))
    return name, seed, ties, minimum, {r: draw(st.floats(0.05, 1.0)) for r in wanted}


@given(_cases())
@settings(max_examples=80, deadline=None)
def test_feasible_and_nobody_that_fits_is_left_out(case) -> None:
    name, seed, ties, minimum, fractions = case
    _, _, found = _found(name)
    found.limit(minimum)
    priority = _priority(found, seed, ties)
    targets = {r: f * found.amount(r) for r, f in fractions.items()}
    try:
        keep = fit_budget(found, priority.clone(), targets)
    except BudgetError as error:
        assert "smallest reachable" in str(error)
        least = torch.zeros(found.count, dtype=torch.bool)
        for layer in found.layers:
            least[layer.start : layer.start + layer.minimum] = True
        assert any(found.amount(r, least) > t for r, t in targets.items())
        return
    assert all(found.amount(r, keep) <= t * (1 + 1e-9) for r, t in targets.items())
    for layer in found.layers:
        assert int(keep[layer.start : layer.stop].sum()) >= layer.minimum
        # within a layer, in order of priority and then of index
        mine, kept = priority[layer.start : layer.stop], keep[layer.start : layer.stop]
        assert torch.equal(kept, top_k(mine, int(kept.sum())))
    for player in torch.nonzero(~keep).flatten().tolist():
        more = keep.clone()
        more[player] = True
        assert any(found.amount(r, more) > t * (1 + 1e-9) for r, t in targets.items())


@given(st.integers(0, 9999), st.booleans(), st.integers(1, 2), st.sampled_from(RESOURCES), st.floats(0.1, 1.0))
@settings(max_examples=40, deadline=None)
def test_against_brute_force(seed: int, ties: bool, minimum: int, resource: str, fraction: float) -> None:
    """Of all masks that fit, the first in priority order: who is above is never given up for who is below,
    unless a whole prefix does not fit. The prefix is found by trying all, not by halving."""
    _, _, found = _found("tiny")
    found.limit(minimum)
    priority, target = _priority(found, seed, ties), fraction * found.amount(resource)
    protected = torch.zeros(7, dtype=torch.bool)
    for layer in found.layers:
        protected[layer.start : layer.stop] = top_k(priority[layer.start : layer.stop], minimum)
    if found.amount(resource, protected) > target * (1 + 1e-9):
        with pytest.raises(BudgetError):
            fit_budget(found, priority, {resource: target})
        return
    queue = sorted((i for i in range(7) if not protected[i]), key=lambda i: (-float(priority[i]), i))
    fitting = []
    for choice in itertools.product([True, False], repeat=len(queue)):
        mask = protected.clone()
        mask[queue] = torch.tensor(choice) if queue else mask[queue]
        if found.amount(resource, mask) <= target * (1 + 1e-9):
            fitting.append((choice, mask))
    expected = max(fitting, key=lambda pair: pair[0])[1]  # lexicographic: the priority order decides
    assert torch.equal(fit_budget(found, priority, {resource: target}), expected)


def test_counts_are_exact_even_where_fractions_round_badly() -> None:
    _, _, found = _found("mlp")
    found.limit(1)
    for k in range(2, 16):
        assert int(fit_budget(found, torch.rand(15), {"groups": k / 15 * 15}).sum()) == k
        assert int(fit_budget(found, torch.rand(15), {"groups": k + 0.999}).sum()) == k
    big = players(_mlp(4, 60, 40, 3), torch.randn(2, 4))
    assert int(fit_budget(big, torch.rand(100), {"groups": 0.29 * 100}).sum()) == 29  # 28.999999999999996


def test_ties_go_to_the_lower_index_and_nan_is_last() -> None:
    _, _, found = _found("mlp")
    found.limit(1)
    assert torch.nonzero(fit_budget(found, torch.zeros(15), {"groups": 4})).flatten().tolist() == [0, 1, 2, 9]
    priority = torch.arange(15.0)
    priority[14] = torch.nan
    assert torch.nonzero(fit_budget(found, priority, {"groups": 3})).flatten().tolist() == [8, 12, 13]
    assert top_k(torch.tensor([1.0, 2.0, 2.0, 2.0]), 2).tolist() == [False, True, True, False]
    assert top_k(torch.ones(3), 0).tolist() == [False] * 3 and top_k(torch.ones(3), 9).tolist() == [True] * 3


def test_nothing_and_everything() -> None:
    for name in ("mlp", "resnet", "vit"):
        _, _, found = _found(name)
        found.limit(1)
        for r in RESOURCES:
            assert bool(fit_budget(found, torch.rand(found.count), {r: found.amount(r)}).all())
            floor = found.resource(r).amount(found.minimum)
            least = fit_budget(found, torch.rand(found.count), {r: floor})
            if r != "macs":  # a layer may be free of MACs, and then stays
                assert int(least.sum()) == len(found.layers)
            with pytest.raises(BudgetError, match="smallest reachable here is"):
                fit_budget(found, torch.rand(found.count), {r: 0.99 * floor})


@given(st.integers(0, 9999), st.sampled_from(RESOURCES), st.floats(0.2, 0.9))
@settings(max_examples=30, deadline=None)
def test_renaming_players_within_a_layer_renames_the_kept(seed: int, resource: str, fraction: float) -> None:
    _, _, found = _found("mlp")
    found.limit(1)
    g = torch.Generator().manual_seed(seed)
    priority = torch.rand(15, generator=g)
    order = torch.cat([torch.randperm(9, generator=g), 9 + torch.randperm(6, generator=g)])
    try:
        keep = fit_budget(found, priority, {resource: fraction * found.amount(resource)})
    except BudgetError:
        return
    again = fit_budget(found, priority[order], {resource: fraction * found.amount(resource)})
    assert torch.equal(again, keep[order])


@pytest.mark.parametrize("name", ["mlp", "resnet", "vit"])
def test_predicted_amounts_are_counted_on_the_network_that_is_left(name: str) -> None:
    model, x, found = _found(name)
    found.limit(1)
    for seed, fraction in ((0, 0.7), (1, 0.4), (2, 0.25)):
        try:
            keep = fit_budget(found, _priority(found, seed, False), {"params": fraction * found.amount("params")})
        except BudgetError:
            continue
        small = shrink(model, found.structure, found.atom_mask(keep), x).model
        assert found.amount("params", keep) == count_params(small)
        assert found.amount("bytes", keep) == count_bytes(small)
        assert found.amount("macs", keep) == count_macs(small, x[:1])
        assert found.amount("groups", keep) == int(keep.sum())
    assert found.amount("macs") == count_macs(model, x[:1]) and found.amount("params") == count_params(model)
