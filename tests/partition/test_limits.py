"""Limits of layers: which counts they leave, whom they mean, and what is said when they make no sense."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateurs.errors import BudgetError, StructureError
from secateurs.partition import Layer, Limits, Players, device_multiple, parse_limit, players
from secateurs.partition.layers import settle, units
from secateurs.structure import shrink
from secateurs.zoo.resnet import resnet20
from secateurs.zoo.vit import ViT


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def found(*widths: int, **given: object) -> Players:
    return players(mlp(*widths), torch.randn(2, widths[0]), **given)  # type: ignore[arg-type]


def layer(size: int, *, cut: int = 0, channels: int = 1, **limits: object) -> Layer:
    told = Limits(**limits)  # type: ignore[arg-type]
    return Layer("x", "channel", 0, size - cut, dense=size, channels=channels, limits=told)


def allowed(size: int, minimum: int, ratio: float, multiple: int) -> list[int]:
    """By the definition: multiples, or all; no fewer than either limit says."""
    least = min(size, max(1, minimum, math.ceil(round(size * (1 - ratio), 6))))
    return [n for n in range(1, size + 1) if n >= least and (n % multiple == 0 or n == size)]


@given(st.integers(1, 70), st.integers(0, 80), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_counts_are_those_of_the_definition(size: int, minimum: int, ratio: float, multiple: int) -> None:
    told = settle([layer(size, minimum=minimum, maximum_ratio=ratio, round_to=multiple)], 16)
    (unit,) = units(told)
    expected = allowed(size, minimum, ratio, multiple)
    assert unit.counts.tolist() == expected and told[0].minimum == expected[0]
    for count in range(size + 1):
        assert unit.above(count) == next((n for n in expected if n >= count), expected[-1])
        nearest = unit.nearest(count)
        assert nearest in expected and abs(nearest - count) == min(abs(n - count) for n in expected)


@given(st.integers(2, 40), st.integers(0, 39), st.integers(0, 20), st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_after_a_cut_the_whole_layer_is_no_longer_a_choice(size: int, cut: int, minimum: int, multiple: int) -> None:
    cut = min(cut, size - 1)
    (unit,) = units(settle([layer(size, cut=cut, minimum=minimum, round_to=multiple)], 16))
    left = [n for n in allowed(size, minimum, 1.0, multiple) if n <= size - cut]
    assert unit.counts.tolist() == (left or [size - cut])


def test_a_width_is_counted_in_channels() -> None:
    """A head brings its own, a group of a grouped convolution one channel of each group."""
    for channels, multiple in ((1, 8), (2, 4), (12, 2), (64, 1), (0, 1)):
        assert settle([layer(64, channels=channels, round_to=8)], 16)[0].multiple == multiple
    attention = ViT((1, 8, 8), 3, patch=4, width=16, depth=1, heads=4, hidden=12)
    held = {x.kind: x.channels for x in players(attention, torch.randn(2, 1, 8, 8), ("channel", "head")).layers}
    assert held == {"head": 4, "channel": 1}
    grouped = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3, groups=4), nn.ReLU(), nn.Conv2d(32, 3, 1)
    )
    assert [x.channels for x in players(grouped, torch.randn(2, 3, 8, 8)).layers] == [4, 4]
    shuffled = nn.Sequential(nn.Conv2d(3, 32, 3), nn.PixelShuffle(2), nn.ReLU(), nn.Conv2d(8, 3, 3))
    assert [x.channels for x in players(shuffled, torch.randn(2, 3, 8, 8)).layers] == [4]
    loud = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(8 * 36, 3)
    )  # silenced by its consumer
    assert [x.channels for x in players(loud, torch.randn(2, 3, 8, 8)).layers] == [1]


def test_limits_are_kept_until_they_are_given_again() -> None:
    p = found(5, 20, 12, 3)
    assert [(x.minimum, x.multiple) for x in p.layers] == [(1, 1), (1, 1)]
    p.limit(minimum=3).limit(round_to=4).limit(maximum_ratio=0.5, layers="0")
    assert [(x.minimum, x.multiple) for x in p.layers] == [(12, 4), (4, 4)]  # 10 of 20, rounded up
    p.limit(1, layers="2")
    assert [(x.minimum, x.multiple) for x in p.layers] == [(12, 4), (4, 4)]
    p.limit(round_to={"2": 1, "0": 8})
    assert [(x.minimum, x.multiple) for x in p.layers] == [(16, 8), (1, 1)]
    p.limit({"*": 6}, maximum_ratio=1.0)
    assert p.minimum.tolist() == [8, 6]
    assert found(5, 6, 3).limit(minimum=99).minimum.tolist() == [6]
    assert found(5, 6, 3).limit(round_to=8).minimum.tolist() == [6]  # narrower than the multiple: whole


def test_names_and_patterns() -> None:
    p = players(resnet20(10, (3, 8, 8)), torch.randn(2, 3, 8, 8))

    def reached(pattern: str) -> list[str]:
        p.limit(1).limit(minimum=3, layers=pattern)
        return [x.name for x in p.layers if x.minimum == 3]

    assert reached("layer1.*") == reached("layer1") == [f"layer1.{i}.conv1" for i in range(3)]
    assert reached("*.1.conv?") == [f"layer{i}.1.conv1" for i in (1, 2, 3)]
    assert reached("layer[23].0") == ["layer2.0.conv1", "layer2.0.conv2", "layer3.0.conv1", "layer3.0.conv2"]
    assert reached("conv1") == ["conv1"] and len(reached("*")) == len(p.layers)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"minimum": 2, "layers": "layer1.0.convl"}, "did you mean 'layer1.0.conv1'"),
        ({"minimum": {"layr2.*": 3}}, "no layer matches 'layr2.*'"),
        ({"minimum": 2, "layers": "layer1.0.conv2"}, "belongs to 'conv1'"),
        ({"minimum": -1}, "minimum=-1"),
        ({"minimum": 2.5}, "minimum=2.5"),
        ({"minimum": True}, "minimum=True"),
        ({"maximum_ratio": 1.5}, "maximum_ratio=1.5: must be between 0"),
        ({"round_to": 0}, "round_to=0: must be 'auto' or a whole number"),
        ({"round_to": "car"}, "round_to='car'"),
    ],
)
def test_what_makes_no_sense_is_said_and_changes_nothing(given: dict[str, object], said: str) -> None:
    p = players(resnet20(10, (3, 8, 8)), torch.randn(2, 3, 8, 8)).limit(round_to=4)
    before = list(p.layers)
    with pytest.raises(StructureError) as caught:
        p.limit(**{"maximum_ratio": 0.3, **given})  # type: ignore[arg-type]
    assert said in str(caught.value) and p.layers == before


def test_single_weights_have_no_width() -> None:
    p = found(5, 8, 3, granularity="weight")
    with pytest.raises(StructureError, match="nothing to round"):
        p.limit(round_to=8)
    assert p.limit(round_to="auto").limit(minimum=7).minimum.tolist() == [7, 7] and not p.give_way()


def test_limits_as_text() -> None:
    assert parse_limit("layer1.*:minimum=8,round_to=16") == ("layer1.*", {"minimum": 8, "round_to": 16})
    assert parse_limit(" a.b : maximum_ratio = 0.5 , round_to = auto") == (
        "a.b",
        {"maximum_ratio": 0.5, "round_to": "auto"},
    )
    for text in ("", "minimum=8", ":minimum=8", "a:", "a:minimum", "a:width=8", "a:minimum=x", "a:minimum=auto"):
        with pytest.raises(StructureError, match=r"write PATTERN:NAME=VALUE"):
            parse_limit(text)


# -- ties --------------------------------------------------------------------------------------------------------


def test_tied_layers_have_the_strictest_limits_of_all() -> None:
    p = found(5, 12, 12, 12, 3)
    p.limit({"0": 2, "2": 5}).limit(round_to={"2": 4, "4": 6})
    p.tie("0", "2")
    assert [(x.minimum, x.multiple) for x in p.layers] == [(8, 4), (8, 4), (6, 6)]
    assert [(u.layers, u.counts.tolist()) for u in p.units] == [((0, 1), [8, 12]), ((2,), [6, 12])]
    p.tie("4", "2")  # joins what was tied before: multiples of 4 and of 6
    assert [(u.layers, u.counts.tolist()) for u in p.units] == [((0, 1, 2), [12])]
    p.limit(1).limit(round_to=1)
    assert [u.counts.tolist() for u in p.units] == [list(range(1, 13))]


def test_ties_that_cannot_be() -> None:
    p = found(5, 12, 12, 8, 3)
    for names, said in (
        (("0",), "fewer than two"),
        (("0", "9"), "no layer matches '9'"),
        (("*",), "0 (12), 2 (12), 4 (8)"),
    ):
        with pytest.raises(StructureError) as caught:
            p.tie(*names)
        assert said in str(caught.value)
    assert all(len(u.layers) == 1 for u in p.units)


# -- auto --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("capability", "multiple"), [("AVX512", 16), ("AVX2", 8), ("DEFAULT", 8), ("SVE256", 8)])
def test_auto_is_what_the_device_computes_in(monkeypatch: pytest.MonkeyPatch, capability: str, multiple: int) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert device_multiple(torch.device("cpu")) == multiple and device_multiple(torch.device("cuda")) == 8
    p = found(5, 64, 64, 3).limit(round_to="auto")
    assert [x.multiple for x in p.layers] == [multiple, multiple]


def test_auto_gives_way_where_a_number_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    p = found(5, 64, 64, 3).limit(round_to="auto")
    p.require_reachable({"groups": 32})
    assert p.auto == 16
    p.require_reachable({"groups": 9})
    assert p.auto == 4 and p.minimum.tolist() == [4, 4]
    with pytest.raises(BudgetError, match="smallest reachable here is 2 "):
        p.require_reachable({"groups": 1})
    assert p.auto == 4  # a refusal changes nothing
    p.limit(round_to="auto")
    assert p.auto == 16
    p.limit(round_to=16)
    with pytest.raises(BudgetError, match=r"is 32 .* rounded to a multiple of 16; round_to=4 would do"):
        p.require_reachable({"groups": 9})
    with pytest.raises(BudgetError, match=r"is 32 .* rounded to a multiple of 16; without rounding it is 2$"):
        p.require_reachable({"groups": 1})
    with pytest.raises(BudgetError, match=r"with every layer at its minimum width$"):
        p.limit(minimum=64).require_reachable({"groups": 1})  # rounding is not what stands in the way


# -- ignore ------------------------------------------------------------------------------------------------------


def names(p: Players) -> list[str]:
    return [x.name for x in p.layers]


def test_what_is_ignored_keeps_its_outputs() -> None:
    model, x = resnet20(10, (3, 8, 8)), torch.randn(2, 3, 8, 8)
    everyone = names(players(model, x))
    assert names(players(model, x, ignore=["layer2.1.conv1"])) == [n for n in everyone if n != "layer2.1.conv1"]
    assert names(players(model, x, ignore=["*.1.conv1"])) == [n for n in everyone if ".1." not in n]
    # The stream runs through every block's second convolution, whose outputs are to stay.
    p = players(model, x, ignore=["layer3"])
    assert names(p) == [n for n in everyone if n.startswith(("layer1", "layer2.0.conv1", "layer2.1", "layer2.2"))]
    keep = torch.zeros(p.count, dtype=torch.bool)
    keep[[y.start for y in p.layers]] = True
    small = shrink(model, p.structure, p.atom_mask(keep), x).model
    widths = {n: m.out_channels for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    left = {n: m.out_channels for n, m in small.named_modules() if isinstance(m, nn.Conv2d)}
    assert all(left[n] == w for n, w in widths.items() if n.startswith("layer3"))
    assert any(left[n] < w for n, w in widths.items() if n.startswith("layer1"))
    assert names(players(model, x, "weight", ignore=["layer1", "out"]))[0] == "conv1.weight"
    assert not any(
        n.startswith(("layer1", "out")) for n in names(players(model, x, "weight", ignore=["layer1", "out"]))
    )


def test_a_misspelt_name_to_ignore_is_said() -> None:
    with pytest.raises(StructureError, match=r"nothing is called 'layr1'.*'layer1'"):
        players(resnet20(10, (3, 8, 8)), torch.randn(2, 3, 8, 8), ignore=["layr1"])
    with pytest.raises(StructureError, match="give a list"):
        found(5, 6, 3, ignore="0")


# -- after a cut ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 9999), st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_limits_outlive_a_cut(seed: int, multiple: int) -> None:
    """Players, layers and gates of the smaller network, as a fresh search on it finds them; limits as they were."""
    generator = torch.Generator().manual_seed(seed)
    model, x = mlp(5, 12, 12, 7, 3), torch.randn(2, 5, generator=generator)
    p = players(model, x).limit(2, 0.8, multiple).tie("0", "2").round_auto_to(2)
    keep = torch.rand(p.count, generator=generator) < 0.6
    for y in p.layers:
        keep[y.start : y.start + 2] = True  # one alone would be no player of the smaller network
    small = shrink(model, p.structure, p.atom_mask(keep), x, inplace=True).model
    again, fresh = p.restrict(keep), players(small, x)
    assert [(y.name, y.start, y.stop) for y in again.layers] == [(y.name, y.start, y.stop) for y in fresh.layers]
    assert [y.limits for y in again.layers] == [y.limits for y in p.layers] and again.auto == p.auto
    assert [y.dense for y in again.layers] == [12, 12, 7]
    held = {n: t.detach() for n, t in small.named_parameters()}
    norms = [q.gates.sq_norm([held[n] for n in q.gates.names]) for q in (again, fresh)]
    assert torch.equal(*norms)
    for r in ("params", "macs", "groups", "bytes"):
        assert again.amount(r) == fresh.amount(r)
