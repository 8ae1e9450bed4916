"""A later cut, told without the earlier one."""

from __future__ import annotations

import torch
from torch import nn

from secateurs.structure import Surgery, shrink, trace


def test_since_is_the_later_of_two_cuts() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    structure = trace(model, torch.randn(2, 4))
    first = torch.ones(11, dtype=torch.bool)
    first[[0, 7]] = False
    middle = shrink(model, structure, first)
    second = torch.ones(9, dtype=torch.bool)
    second[[1, 3]] = False  # of the first layer, now numbered from its second neuron on
    last = shrink(middle.model, structure.restrict(first), second)
    whole = middle.surgery.then(last.surgery)
    found = whole.since(middle.surgery)
    assert found.kept == last.surgery.kept == {
        "0.weight": {0: [0, 2, 4]}, "0.bias": {0: [0, 2, 4]}, "2.weight": {1: [0, 2, 4]}
    }  # fmt: skip
    assert found.shapes["2.weight"] == [4, 5] and found.shapes["0.bias"] == [5]
    assert whole.since(Surgery()).kept == whole.kept and not whole.since(whole).kept
