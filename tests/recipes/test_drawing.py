"""The network as a record holds it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from secateurs.partition import players
from secateurs.recipes.drawing import draw
from secateurs.records import NetworkNode
from secateurs.structure import shrink
from secateurs.zoo import build_model


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, 1, 1), nn.Conv2d(6, 6, 3, 1, 1)
        self.c, self.out = nn.Conv2d(3, 4, 3, 1, 1), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        y = y + self.b(y)
        return self.out(torch.cat([y, self.c(x)], 1).mean((2, 3)))


IMAGE = torch.zeros(2, 3, 8, 8)


def named(nodes: list[NetworkNode]) -> dict[str, NetworkNode]:
    return {node.name or node.kind: node for node in nodes}


def test_widths_after_the_cut_are_those_of_the_network_that_is_cut() -> None:
    model = Net()
    found = players(model, IMAGE)
    assert [layer.name for layer in found.layers] == ["a", "c"]
    kept = torch.tensor([1, 0, 1, 1, 0, 1, 0, 1, 1, 1], dtype=torch.bool)  # six of a, four of c
    drawn = draw(found, kept)
    assert drawn is not None
    nodes = named(drawn.nodes)
    small = shrink(model, found.structure, found.atom_mask(kept)).model
    assert (nodes["a"].width, nodes["a"].kept) == (6, small.a.out_channels) == (6, 4)
    assert (nodes["c"].width, nodes["c"].kept) == (4, small.c.out_channels) == (4, 3)
    assert (nodes["concat"].width, nodes["concat"].kept) == (10, small.out.in_features) == (10, 7)
    assert (nodes["concat"].groups, nodes["concat"].counts) == ([0, 1], [6, 4])
    assert (nodes["out"].groups, nodes["out"].kept, nodes["out"].reason) == ([], 2, "the model's output")
    assert [(g.name, g.total, g.kept) for g in drawn.groups] == [("a", 6, 4), ("c", 4, 3)]
    assert drawn.groups[0].params_each == round(found.resource("params").marginal(found.sizes)[0])


def test_before_a_run_there_are_no_kept_widths() -> None:
    drawn = draw(players(Net(), IMAGE))
    assert drawn is not None and all(n.kept is None for n in drawn.nodes) and all(g.kept is None for g in drawn.groups)


def test_what_are_no_players_is_drawn_beside_them() -> None:
    model = build_model("zoo:vit-tiny", classes=10, input_shape=(3, 32, 32))
    found = players(model, (torch.zeros(2, 3, 32, 32),), "head")
    drawn = draw(found, torch.ones(found.count, dtype=torch.bool))
    assert drawn is not None
    heads = [g for g in drawn.groups if g.kind == "head"]
    others = [g for g in drawn.groups if g.kind == "channel"]
    assert len(heads) == len(found.layers) and all(g.kept == g.total and g.macs_each for g in heads)
    assert others and all(g.kept is None and g.macs_each is None for g in others)


def test_single_weights_leave_widths_alone() -> None:
    found = players(Net(), IMAGE, "weight")
    drawn = draw(found, torch.zeros(found.count, dtype=torch.bool))
    assert drawn is not None and all(n.kept is None for n in drawn.nodes) and len(drawn.groups) == 2


def test_a_computed_structure_is_not_drawn() -> None:
    model = Net()
    found = players(model, IMAGE)
    kept = torch.ones(found.count, dtype=torch.bool)
    kept[0] = False
    shrink(model, found.structure, found.atom_mask(kept), inplace=True)
    assert draw(found.restrict(kept)) is None


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x).relu())


def test_a_block_goes_with_all_that_lies_in_it() -> None:
    model = nn.Sequential(nn.Linear(3, 4), Block(), Block(), nn.Linear(4, 2))
    found = players(model, torch.zeros(2, 3), "block")
    assert found.count == 2
    drawn = draw(found, torch.tensor([True, False]))
    assert drawn is not None
    assert [(n.name, n.kept) for n in drawn.nodes if n.name.startswith("2")] == [("2.a", 0), ("2.b", 0), ("2", 0)]
    assert {n.kept for n in drawn.nodes if n.name.startswith("1")} == {4, 5}
    (group,) = {n.groups[-1] for n in drawn.nodes if n.name.startswith(("1", "2"))}
    assert (drawn.groups[group].kind, drawn.groups[group].total, drawn.groups[group].kept) == ("block", 2, 1)
    assert np.all([n.counts[-1] == 0 for n in drawn.nodes if n.name == "2.a"])
