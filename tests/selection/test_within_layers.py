"""Uniform allocation: quantiles by hand, and the same share of every layer."""

from __future__ import annotations

import torch
from torch import nn

from secateurs.partition import players
from secateurs.selection import fit_budget, within_layers


def _found(*widths: int):
    linears = [nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:])]
    return players(nn.Sequential(*[m for one in linears for m in (one, nn.ReLU())][:-1]), torch.randn(2, widths[0]))


def test_quantiles_by_hand_whatever_a_layer_s_scale() -> None:
    """(rank + ½)/size; of equal scores the lower index ranks higher, NaN lowest."""
    scores = torch.tensor([3.0, 1.0, 2.0, 2.0, 500.0, torch.nan])
    ranks = within_layers(_found(3, 4, 2, 1), scores)
    assert ranks.tolist() == [0.875, 0.125, 0.625, 0.375, 0.75, 0.25]


def test_every_layer_keeps_the_same_share() -> None:
    found = _found(8, 40, 20, 10, 3)
    scores = torch.rand(found.count, generator=torch.Generator().manual_seed(0)) * (1 + found.layer_of) ** 9
    keep = fit_budget(found, within_layers(found, scores), {"groups": 35})
    assert found.mass(keep.float()).tolist() == [20, 10, 5]
