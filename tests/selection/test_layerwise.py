"""Layer-wise rounds: counts by hand, and the cut that goes by them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateurs.errors import BudgetError
from secateurs.partition import Players, players
from secateurs.selection import fit_budget, layer_counts, layerwise, round_rate
from secateurs.zoo import build_model

# 235,200, 30,000 and 1,000 weights, of which a round takes 20%, 20% and 10%:
#   1 round:   188,160      24,000    900
#   2 rounds:  150,528      19,200    810
#   3 rounds:  120,422.4    15,360    729
#   7 rounds:   49,325.01…   6,291.4… 478.2…
LENET = {1: [188_160, 24_000, 900], 2: [150_528, 19_200, 810], 3: [120_422, 15_360, 729], 7: [49_325, 6_291, 478]}
FACTORS = [1.0, 1.0, 0.5]


@pytest.fixture(scope="module")
def lenet() -> Players:
    model = build_model("zoo:lenet-300-100", input_shape=(1, 28, 28))
    return players(model, torch.zeros(2, 1, 28, 28), "weight")


def kept(found: Players, mask: torch.Tensor) -> list[int]:
    return [int(mask[layer.start : layer.stop].sum()) for layer in found.layers]


@pytest.mark.parametrize("rounds", LENET)
def test_counts_of_lenet_by_hand(lenet: Players, rounds: int) -> None:
    assert layer_counts(lenet, 0.2, rounds, FACTORS).tolist() == LENET[rounds]


@pytest.mark.parametrize("rounds", LENET)
def test_the_cut_takes_from_every_layer_what_the_rounds_take(lenet: Players, rounds: int) -> None:
    scores = torch.rand(lenet.count, generator=torch.Generator().manual_seed(rounds))
    total = sum(LENET[rounds])
    alpha = round_rate(lenet, {"groups": total}, rounds, FACTORS)
    assert alpha == pytest.approx(0.2, abs=1e-4) and alpha <= 0.2
    mask = fit_budget(lenet, layerwise(lenet, scores, alpha, FACTORS), {"groups": total})
    assert kept(lenet, mask) == LENET[rounds]
    for layer in lenet.layers:  # and it takes the lowest
        part, stays = scores[layer.start : layer.stop], mask[layer.start : layer.stop]
        assert part[stays].min() >= part[~stays].max()


def test_the_rate_is_the_smallest_that_fits(lenet: Players) -> None:
    for target in (100_000, 26_620):
        alpha = round_rate(lenet, {"groups": target}, 5, FACTORS)
        assert layer_counts(lenet, alpha, 5, FACTORS).sum() <= target
        assert layer_counts(lenet, alpha - 1e-6, 5, FACTORS).sum() > target


def test_a_factor_of_zero_leaves_a_layer_whole(lenet: Players) -> None:
    factors = [1.0, 1.0, 0.0]
    alpha = round_rate(lenet, {"groups": 50_000}, 4, factors)
    mask = fit_budget(lenet, layerwise(lenet, torch.rand(lenet.count), alpha, factors), {"groups": 50_000})
    assert kept(lenet, mask)[2] == 1000 and int(mask.sum()) == 50_000


def test_what_cannot_be_reached_is_said(lenet: Players) -> None:
    with pytest.raises(BudgetError, match="smallest reachable"):
        round_rate(lenet, {"params": 100}, 3, FACTORS)


@given(
    sizes=st.lists(st.integers(2, 9), min_size=2, max_size=4),
    alpha=st.floats(0.05, 0.6),
    rounds=st.integers(1, 6),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_outlived_rounds_against_a_loop(sizes: list[int], alpha: float, rounds: int, seed: int) -> None:
    """A player is among its layer's ⌊n(1 − cα)^l⌋ best if and only if it outlives l rounds."""
    widths = [3, *sizes]
    model = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in zip(widths, widths[1:])))
    found = players(model, torch.randn(2, 3), "weight")
    factors = [0.5 + 0.5 * (i % 2) for i in range(len(found.layers))]
    scores = torch.rand(found.count, generator=torch.Generator().manual_seed(seed))
    outlived = layerwise(found, scores, alpha, factors)
    for layer, factor in zip(found.layers, factors):
        share = (1 - alpha * factor) ** rounds
        part = scores[layer.start : layer.stop].tolist()
        for i, own in enumerate(part):
            rank = 1 + sum(other > own for other in part)
            if math.isclose(rank, layer.size * share, rel_tol=1e-9):
                continue
            assert (float(outlived[layer.start + i]) >= rounds) == (rank <= layer.size * share)
