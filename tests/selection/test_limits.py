"""Every limit holds under every budget: multiples, minimums, largest shares and ties, on random priorities."""

from __future__ import annotations

import math
import re
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateurs.errors import BudgetError
from secateurs.measure import count_macs, count_params
from secateurs.partition import Limits, Players, players
from secateurs.selection import fit_budget, top_k
from secateurs.structure import shrink
from secateurs.zoo.resnet import resnet20
from secateurs.zoo.vit import ViT

RESOURCES = ("groups", "params", "macs", "bytes")


@lru_cache
def network(name: str) -> tuple[nn.Module, Tensor, Players]:
    torch.manual_seed(0)
    if name == "mlp":
        model, x = nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 13), nn.ReLU(), nn.Linear(13, 3)), (2, 5)
    elif name == "twins":
        sizes = (5, 10, 10, 10, 4, 3)
        model = nn.Sequential(*(f(a, b) for a, b in zip(sizes, sizes[1:]) for f in (nn.Linear, lambda *_: nn.ReLU())))
        model, x = model[:-1], (2, 5)
    elif name == "resnet":
        model, x = resnet20(10, (3, 8, 8)), (2, 3, 8, 8)
    else:
        model, x = ViT((1, 8, 8), 3, patch=4, width=8, depth=2, heads=4, hidden=11), (2, 1, 8, 8)
    inputs = torch.randn(*x)
    return model, inputs, players(model, inputs, ("channel", "head") if name == "vit" else "channel")


TIES = {"mlp": [], "twins": [("0", "4")], "resnet": [("layer1.*",), ("layer3.1", "layer3.2")], "vit": [("*.attn",)]}


def limited(name: str, minimum: int, ratio: float, multiple: int, tied: bool) -> Players:
    """The players, rid of all earlier limits."""
    _, _, found = network(name)
    from dataclasses import replace

    found.layers = [replace(layer, limits=Limits()) for layer in found.layers]
    found.limit(minimum, ratio, multiple)
    for names in TIES[name] if tied else []:
        found.tie(*names)
    return found


def widths(found: Players, keep: Tensor) -> list[int]:
    return [int(keep[layer.start : layer.stop].sum()) for layer in found.layers]


def check_limits(found: Players, keep: Tensor, minimum: int, ratio: float, multiple: int) -> None:
    tied: dict[str, set[int]] = {}
    for layer, kept in zip(found.layers, widths(found, keep)):
        assert kept >= min(layer.size, max(1, minimum)) and layer.size - kept <= ratio * layer.size + 1e-9
        assert kept * layer.channels % multiple == 0 or kept == layer.size
        if layer.limits.tie:
            tied.setdefault(layer.limits.tie, set()).add(kept)
    assert all(len(counts) == 1 for counts in tied.values())


@st.composite
def cases(draw):
    name = draw(st.sampled_from(sorted(TIES)))
    limits = (
        draw(st.integers(0, 9)),
        draw(st.sampled_from([0.3, 0.5, 0.75, 0.9, 1.0])),
        draw(st.sampled_from([1, 2, 3, 4, 5, 8, 16])),
    )
    wanted = draw(st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=3, unique=True))
    return (
        name,
        draw(st.booleans()),
        limits,
        draw(st.integers(0, 9999)),
        {r: draw(st.floats(0.03, 1.0)) for r in wanted},
    )


def priorities(found: Players, seed: int) -> Tensor:
    """Continuous, or with ties, as the seed has it."""
    g = torch.Generator().manual_seed(seed)
    values = torch.randn(found.count, generator=g)
    return values.round() if seed % 3 == 0 else values


@given(cases())
@settings(max_examples=150, deadline=None)
def test_every_limit_holds_under_every_budget(case) -> None:
    name, tied, limits, seed, fractions = case
    found = limited(name, *limits, tied)
    priority = priorities(found, seed)
    targets = {r: f * found.amount(r) for r, f in fractions.items()}
    try:
        keep = fit_budget(found, priority, targets)
    except BudgetError as error:
        least = torch.zeros(found.count, dtype=torch.bool)
        for layer in found.layers:
            least[layer.start : layer.start + layer.minimum] = True
        check_limits(found, least, *limits)  # what it calls the smallest is allowed, and is too much
        assert any(found.amount(r, least) > t for r, t in targets.items()), error
        return
    check_limits(found, keep, *limits)
    assert all(found.amount(r, keep) <= t * (1 + 1e-9) for r, t in targets.items())
    for layer, kept in zip(found.layers, widths(found, keep)):
        span = slice(layer.start, layer.stop)
        assert torch.equal(keep[span], top_k(priority[span], kept))
    for unit in found.units:  # no layer could keep its next number
        kept = widths(found, keep)[unit.layers[0]]
        if kept == unit.counts[-1]:
            continue
        more = keep.clone()
        for layer in (found.layers[i] for i in unit.layers):
            more[layer.start : layer.stop] = top_k(priority[layer.start : layer.stop], unit.above(kept + 1))
        assert any(found.amount(r, more) > t * (1 + 1e-9) for r, t in targets.items())


@given(cases(), st.floats(1.0, 2.0))
@settings(max_examples=80, deadline=None)
def test_a_larger_budget_is_not_used_less(case, factor: float) -> None:
    name, tied, limits, seed, fractions = case
    found = limited(name, *limits, tied)
    resource, fraction = next(iter(fractions.items()))
    target = fraction * found.amount(resource)
    try:
        less = fit_budget(found, priorities(found, seed), {resource: target})
    except BudgetError:
        return
    more = fit_budget(found, priorities(found, seed), {resource: factor * target})
    assert found.amount(resource, more) >= found.amount(resource, less) - 1e-6


@given(cases())
@settings(max_examples=60, deadline=None)
def test_the_smallest_amount_that_an_error_names_can_be_reached(case) -> None:
    name, tied, limits, seed, fractions = case
    found = limited(name, *limits, tied)
    resource = next(iter(fractions))
    with pytest.raises(BudgetError) as caught:
        fit_budget(found, priorities(found, seed), {resource: 0.5})
    match = re.search(r"smallest reachable here is ([\d,]+)", str(caught.value))
    assert match is not None
    least = float(match[1].replace(",", ""))
    keep = fit_budget(found, priorities(found, seed), {resource: least})
    check_limits(found, keep, *limits)
    with pytest.raises(BudgetError):
        fit_budget(found, priorities(found, seed), {resource: least - 1})


@given(cases())
@settings(max_examples=60, deadline=None)
def test_the_rounding_that_an_error_names_would_do(case) -> None:
    name, tied, (minimum, ratio, multiple), seed, fractions = case
    found = limited(name, minimum, ratio, multiple, tied)
    targets = {r: f * found.amount(r) for r, f in fractions.items()}
    try:
        fit_budget(found, priorities(found, seed), targets)
        assume(False)
    except BudgetError as error:
        remedy = re.search(r"round_to=(\d+) would do", str(error))
        finest = limited(name, minimum, ratio, 1, tied).minimum.copy()
        reachable = all(found.resource(r).amount(finest) <= t * (1 + 1e-9) for r, t in targets.items())
        assert (remedy is not None) == reachable
    if remedy is not None:
        finer = int(remedy[1])
        assert finer < multiple
        found = limited(name, minimum, ratio, finer, tied)
        check_limits(found, fit_budget(found, priorities(found, seed), targets), minimum, ratio, finer)


def one_by_one(found: Players, priority: Tensor, targets: dict[str, float]) -> Tensor:
    """The cut without chunks or ties, player by player."""
    keep = torch.zeros(found.count, dtype=torch.bool)
    for layer in found.layers:
        keep[layer.start : layer.stop] = top_k(priority[layer.start : layer.stop], layer.minimum)
    order = torch.sort(priority, descending=True, stable=True).indices
    for player in order[~keep[order]].tolist():
        keep[player] = True
        if any(found.amount(r, keep) > t * (1 + 1e-9) for r, t in targets.items()):
            keep[player] = False
    return keep


@given(st.sampled_from(sorted(TIES)), st.integers(0, 9999), st.integers(1, 4), st.floats(0.05, 1.0), st.data())
@settings(max_examples=60, deadline=None)
def test_without_rounding_players_go_one_by_one(name: str, seed: int, minimum: int, fraction: float, data) -> None:
    found = limited(name, minimum, 1.0, 1, False)
    priority = priorities(found, seed).double()
    wanted = data.draw(st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=2, unique=True))
    targets = {r: fraction * found.amount(r) for r in wanted}
    try:
        keep = fit_budget(found, priority, targets)
    except BudgetError:
        return
    assert torch.equal(keep, one_by_one(found, priority, targets))


def test_chunks_go_by_their_mean_and_tied_layers_together() -> None:
    found = limited("twins", 0, 1.0, 4, False)  # 10, 10, 10, 4: chunks of 4, 4, 2
    priority = torch.zeros(34)
    priority[:10] = torch.tensor([1.0, 9, 1, 9, 9, 1, 9, 5, 3, 0])  # 9 9 9 9 | 5 3 1 1 | 1 0: means 9, 2.5, 0.5
    priority[10:20] = torch.tensor([8.0] * 4 + [2.4] * 4 + [2.0] * 2)
    priority[20:30] = torch.tensor([7.0] * 4 + [1.5] * 4 + [1.0] * 2)
    assert widths(found, fit_budget(found, priority, {"groups": 20})) == [8, 4, 4, 4]
    assert widths(found, fit_budget(found, priority, {"groups": 24})) == [8, 8, 4, 4]
    assert widths(found, fit_budget(found, priority, {"groups": 26})) == [8, 10, 4, 4]  # the remainder, worth 2
    assert widths(found, fit_budget(found, priority, {"groups": 28})) == [10, 10, 4, 4]  # before four worth 1.5
    assert widths(found, fit_budget(found, priority, {"groups": 25})) == [8, 8, 4, 4]  # what does not fit stays free
    kept = fit_budget(found, priority, {"groups": 20})
    assert torch.nonzero(kept[:10]).flatten().tolist() == [0, 1, 2, 3, 4, 6, 7, 8]  # ties by lower index
    found.tie("0", "4")  # now (9, 7), (2.5, 1.5), (0.5, 1): 8, 2, 0.75
    assert widths(found, fit_budget(found, priority, {"groups": 20})) == [4, 8, 4, 4]
    assert widths(found, fit_budget(found, priority, {"groups": 26})) == [4, 10, 4, 4]  # not 8 more in two steps of 4
    assert widths(found, fit_budget(found, priority, {"groups": 30})) == [8, 10, 8, 4]


def test_predicted_amounts_are_those_of_the_network_that_is_left() -> None:
    model, x, _ = network("resnet")
    for multiple, tied in ((4, False), (8, True), (5, True)):
        found = limited("resnet", 2, 0.9, multiple, tied)
        keep = fit_budget(found, priorities(found, 1), {"macs": 0.6 * found.amount("macs")})
        small = shrink(model, found.structure, found.atom_mask(keep), x).model
        assert found.amount("params", keep) == count_params(small)
        assert found.amount("macs", keep) == count_macs(small, x[:1])
        for name, module in small.named_modules():
            if isinstance(module, nn.Conv2d) and name.endswith("conv1"):
                dense = model.get_submodule(name)
                assert isinstance(dense, nn.Conv2d)
                assert module.out_channels % multiple == 0 or module.out_channels == dense.out_channels


def test_not_a_number_and_infinity_keep_their_place() -> None:
    found = limited("mlp", 0, 1.0, 4, False)
    priority = torch.zeros(33)
    priority[20:24] = math.inf
    priority[:20] = math.nan
    assert widths(found, fit_budget(found, priority, {"groups": 17})) == [4, 13]
    priority[:4], priority[4:8] = -1.0, -math.inf
    kept = fit_budget(found, priority, {"groups": 21})
    assert widths(found, kept) == [8, 13] and torch.nonzero(kept[:20]).flatten().tolist() == list(range(8))


def test_auto_gives_way_at_the_cut() -> None:
    found = limited("mlp", 0, 1.0, 1, False)
    found.native = 16
    found.limit(round_to="auto")
    assert widths(found, fit_budget(found, torch.rand(33), {"groups": 29})) == [16, 13]
    assert found.auto == 16
    assert (
        np.all(np.array(widths(found, fit_budget(found, torch.rand(33), {"groups": 9}))) % 4 == 0) and found.auto == 4
    )
