"""Allocations by shares: Erdős–Rényi densities and given ones, by hand and under exact budgets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateurs.errors import RunError, StructureError
from secateurs.partition import Players, players
from secateurs.recipes.oneshot import OneShotOptions
from secateurs.recipes.options import read_options
from secateurs.selection import ALLOCATIONS, by_shares, erk, fit_budget, parse_shares
from secateurs.zoo.conv import LeNet5
from secateurs.zoo.resnet import resnet20
from secateurs.zoo.vit import ViT


def _mlp(granularity: str = "weight", widths: tuple[int, ...] = (40, 60, 30, 10)) -> Players:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return players(nn.Sequential(*layers[:-1]), torch.randn(2, widths[0]), granularity)


def _densities(found: Players, priority: torch.Tensor, share: float) -> torch.Tensor:
    keep = fit_budget(found, priority, {"groups": share * found.count})
    assert int(keep.sum()) == int(share * found.count + 1e-9)
    return torch.tensor(found.mass(keep.float()) / found.sizes)


def test_erk_by_hand() -> None:
    """Layers 2×3 and 3×1: r = 5/6 and 4/3. Ranks from the top, (i + ½)/size, over r."""
    found = players(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.randn(2, 2), "weight")
    scores = torch.tensor([6.0, 5, 4, 3, 2, 1, 7, 9, 8])
    expected = [-(i + 0.5) / 6 / (5 / 6) for i in range(6)] + [-(i + 0.5) / 3 / (4 / 3) for i in (2, 0, 1)]
    assert erk(found, scores).tolist() == pytest.approx(expected, rel=1e-6)


def test_erk_of_convolutions_sums_the_kernel_too() -> None:
    """LeNet-5: conv2 is 50×20×5×5, r = 80/25000; fc1 500×800 has r = 1300/400000; densities in that proportion."""
    found = players(LeNet5(10, (1, 28, 28)), torch.randn(2, 1, 28, 28), "weight")
    shapes = [found.model.get_parameter(x.name).shape for x in found.layers]
    ratios = torch.tensor([sum(s) / s.numel() for s in shapes], dtype=torch.float64)
    assert ratios[1] == pytest.approx(80 / 25000) and ratios[2] == pytest.approx(1300 / 400000)
    kept = _densities(found, erk(found, torch.rand(found.count)), 0.02)
    scale = float((kept * torch.tensor(found.sizes)).sum() / (ratios.clamp_max(1) * torch.tensor(found.sizes)).sum())
    # conv1 (31/500) would be dense at ε = 16.1, and is below that here
    assert scale > 0 and kept[0] < 1
    assert (kept / kept[2]).tolist() == pytest.approx((ratios / ratios[2]).tolist(), rel=0.02)


@given(st.floats(0.02, 1.0), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_densities_are_the_capped_proportion_at_every_budget(share: float, seed: int) -> None:
    """d_l = min(1, ε·r_l), ε by bisection here, to within one weight of each layer."""
    found = _mlp()
    sizes = torch.tensor(found.sizes)
    ratios = torch.tensor([100 / 2400, 90 / 1800, 40 / 300], dtype=torch.float64)
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        total = float(((middle * ratios).clamp_max(1) * sizes).sum())
        low, high = (middle, high) if total < share * found.count else (low, middle)
    expected = (low * ratios).clamp_max(1) * sizes
    scores = torch.rand(found.count, generator=torch.Generator().manual_seed(seed))
    kept = _densities(found, erk(found, scores), share) * sizes
    assert bool(((kept - expected).abs() <= 1.5).all()), (kept, expected)


def test_within_a_layer_the_best_stay_and_ties_go_to_the_lower_index() -> None:
    found = _mlp()
    scores = torch.randint(3, (found.count,), generator=torch.Generator().manual_seed(0)).float()
    keep = fit_budget(found, erk(found, scores), {"groups": 500})
    for layer in found.layers:
        mine, kept = scores[layer.start : layer.stop], keep[layer.start : layer.stop]
        order = sorted(range(layer.size), key=lambda i: (-float(mine[i]), i))
        assert torch.nonzero(kept).flatten().tolist() == sorted(order[: int(kept.sum())])


@pytest.mark.parametrize("granularity", ["channel", "head"])
def test_erk_goes_by_the_weights_that_make_a_layer(granularity: str) -> None:
    """Channels: rows of the producing weight, several by their mean; heads: the rows of q, k and v."""
    if granularity == "channel":
        found = players(resnet20(10, (3, 8, 8)), torch.randn(2, 3, 8, 8))
        first = [found.model.get_parameter(n) for n in ("conv1.weight", "layer1.0.conv2.weight")]
        assert [tuple(w.shape) for w in first] == [(16, 3, 3, 3), (16, 16, 3, 3)]
        own = found.layers[1]  # made by one convolution, 16×16×3×3
        ratio = 38 / 2304
    else:
        net = ViT((1, 8, 8), 3, patch=4, width=8, depth=1, heads=4, hidden=6)
        found = players(net, torch.randn(2, 1, 8, 8), "head")
        own, ratio = found.layers[0], (24 + 8) / (24 * 8)
    top = erk(found, torch.arange(found.count, 0, -1).float())[own.start]
    assert float(top) == pytest.approx(-0.5 / own.size / ratio, rel=1e-5)


def test_blocks_have_no_dimensions() -> None:
    found = players(resnet20(10, (3, 8, 8)), torch.randn(2, 3, 8, 8), "block")
    with pytest.raises(StructureError, match=r"makes 'layer1'.*'uniform'"):
        erk(found, torch.zeros(found.count))


def test_given_shares_are_relative_densities() -> None:
    """0.2 : 0.1 : 1 over layers of 2400, 1800 and 300."""
    found = _mlp()
    scores = torch.rand(found.count)
    kept = _densities(found, by_shares(found, scores, {"0": 0.2, "2*": 0.1}), 0.12)
    epsilon = 0.12 * 4500 / (0.2 * 2400 + 0.1 * 1800 + 300)
    assert kept.tolist() == pytest.approx([0.2 * epsilon, 0.1 * epsilon, epsilon], abs=0.004)
    full = _densities(found, by_shares(found, scores, {"0": 0.2, "2": 0.1}), 0.5)
    assert full[2] == 1 and float(full[0] / full[1]) == pytest.approx(2, rel=0.01)
    assert torch.equal(
        by_shares(found, scores, {"*": 0.5, "0": 2.0})[:2400] * 4, by_shares(found, scores, {"*": 0.5})[:2400]
    )
    with pytest.raises(StructureError, match="'fc1'"):
        by_shares(found, scores, {"fc1": 0.2})


def test_reading_shares() -> None:
    assert parse_shares(["fc1=0.2", "layer1.*=3", "fc1=0.5"]) == {"layer1.*": 3.0, "fc1": 0.5}
    assert list(parse_shares(["a=1", "b=2", "a=3"])) == ["b", "a"]  # the later one holds where both match
    for text in ("fc1", "=0.2", "fc1=", "fc1=x", "fc1=0", "fc1=-1", "fc1=nan", "fc1=inf"):
        with pytest.raises(ValueError, match="LAYER=NUMBER"):
            parse_shares([text])
    assert read_options(OneShotOptions, "snip", {"shares": "fc1=0.2"}).shares == ("fc1=0.2",)
    cases = [
        ({"shares": ["fc1"]}, "LAYER=NUMBER"),
        ({"allocation": "shares"}, "needs some"),
        ({"allocation": "erk", "shares": ["fc1=0.2"]}, "does not look at shares"),
    ]
    for given_, message in cases:
        with pytest.raises(RunError, match=message):
            read_options(OneShotOptions, "snip", given_)
    assert set(ALLOCATIONS) == {"global", "uniform", "neuron", "erk"}
