"""Uniform allocation: quantiles by hand, and the same share of every layer, or of every neuron."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateurs.errors import StructureError
from secateurs.partition import players
from secateurs.selection import fit_budget, within_layers, within_neurons


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


def _weights(*widths: int):
    linears = [nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:])]
    net = nn.Sequential(*[m for one in linears for m in (one, nn.ReLU())][:-1])
    return players(net, torch.randn(2, widths[0]), "weight")


def test_quantiles_of_a_neuron_s_inputs_by_hand() -> None:
    """Rows (3, 1, 2), (2, 2, NaN) and (5, 4): (rank + ½)/width."""
    scores = torch.tensor([3.0, 1.0, 2.0, 2.0, 2.0, torch.nan, 5.0, 4.0])
    ranks = within_neurons(_weights(3, 2, 1), scores)
    expected = [5 / 6, 1 / 6, 3 / 6, 5 / 6, 3 / 6, 1 / 6, 3 / 4, 1 / 4]
    assert ranks.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kept", [12, 100, 203, 239, 240])
def test_every_neuron_keeps_exactly_as_many_inputs(kept: int) -> None:
    """20 neurons of 12 inputs: equal shares, the remainder to those of lower index; within one the best stay."""
    found = _weights(12, 20, 1)
    found.limit(minimum=20, layers="2.weight")  # the other layer stays as it is
    scores = torch.randn(found.count, generator=torch.Generator().manual_seed(0))
    keep = fit_budget(found, within_neurons(found, scores), {"groups": kept + 20})[:240].view(20, 12)
    share, rest = divmod(kept, 20)
    assert keep.sum(1).tolist() == [share + (i < rest) for i in range(20)]
    for row, own in zip(keep, scores[:240].view(20, 12)):
        assert not bool(row.any()) or not bool((~row).any()) or float(own[row].min()) > float(own[~row].max())


def test_filters_and_transposed_convolutions_are_neurons_along_their_outputs() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2))
    found = players(net, torch.randn(2, 2, 6, 6), "weight")
    ranks = within_neurons(found, torch.rand(found.count))
    for rows in (ranks[:36].view(4, 9), ranks[36:].view(4, 3, 4).movedim(1, 0).reshape(3, 16)):
        width = rows.shape[1]
        assert rows.sort(1).values.tolist() == [pytest.approx([(i + 0.5) / width for i in range(width)])] * len(rows)


def test_channels_have_no_inputs_of_their_own() -> None:
    with pytest.raises(StructureError, match=r"'neuron' is of the single weights .* are channels; use"):
        within_neurons(_found(3, 4, 2), torch.zeros(4))
