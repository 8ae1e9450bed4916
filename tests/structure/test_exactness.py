"""Masked equals shrunk, on small networks of every kind, with counts predicted equal to counts made."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateurs.measure import count_macs
from secateurs.structure import Structure, mask, shrink, trace

from .networks import NETWORKS, build

TRACED: dict[str, tuple[nn.Module, Any, Structure]] = {}


def traced(name: str) -> tuple[nn.Module, Any, Structure]:
    """A fresh copy of the network with its structure (traced once)."""
    if name not in TRACED:
        model, inputs = build(name)
        TRACED[name] = model, inputs, trace(model, inputs)
    model, inputs, structure = TRACED[name]
    return copy.deepcopy(model), inputs, structure


def random_keep(structure: Structure, seed: int, density: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    keep = torch.rand(structure.atoms, generator=generator) < density
    for family in structure.families:
        if int(keep[family.atoms].sum()) < family.minimum:
            keep[family.atoms[seed % len(family.atoms)]] = True
    return keep


def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    out = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
    return [t for t in torch.utils._pytree.tree_leaves(out) if isinstance(t, Tensor)]


# What each network must leave prunable: a rule that freezes everything would pass every other test.
EXPECTED = {
    "mlp": {"0": 8, "2": 7},
    "sigmoid_mlp": {"0": 8, "2": 7},
    "no_bias": {"0": 8},
    "conv_chain": {"0": 6, "3": 5},
    "conv_1d_3d": {"a": 6, "c": 4},
    "residual_a_symmetric": {"0": 4, "3.conv1": 8, "3.conv2": 2, "4.conv1": 12, "4.conv2": 2},
    "residual_a_pair": {"0": 4, "3.conv1": 8, "3.conv2": 4, "4.conv1": 12, "4.conv2": 4},
    "residual_a_constant": {"a": 4},
    "residual_b": {"a": 4, "b": 6, "c": 8},
    "preactivation": {"a": 5},
    "dense_concat": {"stem": 4, "c1": 3, "c2": 3, "c3": 3},
    "depthwise_separable": {"0": 6, "6": 8},
    "grouped": {"0": 4, "3": 6, "6": 4},
    "transposed": {"0": 6, "2": 4, "7": 4},
    "group_norm": {"0": 4, "3": 3},
    "instance_norm": {"0": 8, "3": 6, "6": 4},
    "squeeze_excite": {"a": 8, "down": 4},
    "chunks": {"a": 6, "b": 4},
    "shuffle": {"a": 2, "b": 3},
    "pixel_shuffle": {"0": 3, "3": 4},
    "manual_pixel_shuffle": {"a": 5},
    "vit": {"attention.0": 3, "mlp.0.0": 9, "attention.1": 4, "mlp.1.0": 9},
    "encoder": {
        "layers.0.self_attn": 3,
        "layers.0.linear1": 10,
        "layers.1.self_attn": 3,
        "layers.1.linear1": 10,
    },
    "encoder_prenorm": {"self_attn": 4, "linear1": 10},
    "decoder": {"self_attn": 3, "multihead_attn": 3, "linear1": 10},
    "multihead_extras": {"a": 4},
    "grouped_query": {"q": 3},
    "fused_grouped_query": {"qkv": 3},
    "one_head": {"v": 4},
    "written_by_parts": {"left": 6},
    "tied": {"embed": 6, "up": 8},
    "tied_modules": {"first": 5},
    "embedding_mean": {"embed": 6},
    "unknown_operator": {"a": 5, "c": 4},
    "python_branch": {"a": 5},
    "constant_flatten": {"a": 6, "b": 5},
    "mixer": {"t1": 6, "c1": 10},
    "layer_scale": {"a": 6},
    "recurrent": {"inp": 6, "lstm": 5, "gru": 4},
    "unet": {"e1": 5, "e2": 6, "up": 4, "d": 5},
    "einsum_and_norms": {"a": 8, "b": 5},
    "weight_normed": {"0": 5},
    "inplace_writes": {"c": 5},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_families_are_those_worked_out_by_hand(name: str) -> None:
    _, _, structure = traced(name)
    assert {f.name: len(f.atoms) for f in structure.families} == EXPECTED[name]
    assert sum(len(f.atoms) for f in structure.families) == structure.atoms


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_masked_equals_shrunk(name: str, seed: int) -> None:
    model, inputs, structure = traced(name)
    keep = random_keep(structure, seed, (0.7, 0.4, 0.15)[seed])
    # check=False: the comparison here is the test's own, independent of the oracle's.
    small = shrink(model, structure, keep, check=False).model
    expected = outputs(mask(copy.deepcopy(model), structure, keep).eval(), inputs)
    got = outputs(small.eval(), inputs)
    assert len(expected) == len(got)
    for a, b in zip(expected, got):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_predicted_are_counts_made(name: str) -> None:
    model, inputs, structure = traced(name)
    for keep in (None, random_keep(structure, 3, 0.5)):
        small = model if keep is None else shrink(model, structure, keep).model
        assert structure.amount("params", keep) == sum(p.numel() for p in small.parameters())
        held = [*small.parameters(), *small.buffers()]
        assert structure.amount("bytes", keep) == sum(t.numel() * t.element_size() for t in held)
        assert round(structure.amount("macs", keep)) == count_macs(small, inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_keeping_everything_changes_nothing(name: str) -> None:
    model, inputs, structure = traced(name)
    result = shrink(model, structure, torch.ones(structure.atoms, dtype=torch.bool))
    assert not result.surgery.kept and not result.surgery.attributes and not result.surgery.swapped
    for a, b in zip(outputs(model.eval(), inputs), outputs(result.model.eval(), inputs)):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_shrunk_model_trains_and_can_be_traced_again(name: str) -> None:
    model, inputs, structure = traced(name)
    keep = random_keep(structure, 5, 0.6)
    small = shrink(model, structure, keep).model.train()
    sum(t.square().sum() for t in outputs(small, inputs) if t.is_floating_point()).backward()  # type: ignore[union-attr]
    for parameter in small.parameters():
        assert parameter.grad is None or parameter.grad.shape == parameter.shape
    again = trace(small, inputs)
    assert again.amount("params") == structure.amount("params", keep)
    assert again.amount("macs") == structure.amount("macs", keep)
    if name in ("mlp", "conv_chain", "residual_b", "dense_concat", "vit", "encoder", "unet", "tied", "mixer"):
        left = {f.name: int(keep[f.atoms].sum()) for f in structure.families}
        # A layer with one group left has nothing more to give unless something anchors it.
        assert {f.name: len(f.atoms) for f in again.families if len(f.atoms) > 1} == {
            n: c for n, c in left.items() if c > 1
        }


@pytest.mark.parametrize("name", NETWORKS)
def test_restricting_the_structure_is_tracing_the_shrunk_model(name: str) -> None:
    model, inputs, structure = traced(name)
    first = random_keep(structure, 8, 0.7)
    small = shrink(model, structure, first).model
    rest = structure.restrict(first)
    second = random_keep(rest, 9, 0.6)
    smaller = shrink(small, rest, second, inputs).model
    both = torch.zeros_like(first)
    both[first.nonzero().flatten()[second]] = True
    once = shrink(model, structure, both).model
    for (n, a), (m, b) in zip(smaller.state_dict().items(), once.state_dict().items()):
        assert n == m
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    for resource in structure.terms:
        assert rest.amount(resource, second) == structure.amount(resource, both)


@pytest.mark.parametrize("name", ["mlp", "conv_chain", "residual_a_pair", "vit", "encoder", "depthwise_separable"])
def test_participation_between_zero_and_one_scales_the_activation(name: str) -> None:
    """Gates are slices to scale: halving a ReLU network's gates halves what reaches the consumers."""
    model, inputs, structure = traced(name)
    half, whole = copy.deepcopy(model).eval(), model.eval()
    tensors = dict(half.named_parameters())
    with torch.no_grad():
        for parameter, gates in structure.gates.items():
            for gate in gates:
                factor = torch.where(torch.from_numpy(gate.ids) >= 0, 0.5, 1.0).double()
                shape = [-1 if a == gate.axis else 1 for a in range(tensors[parameter].dim())]
                tensors[parameter].mul_(factor.view(shape))
    assert all(torch.isfinite(t).all() for t in outputs(half, inputs))
    covered = {int(i) for gates in structure.gates.values() for g in gates for i in g.ids if i >= 0}
    assert covered == set(range(structure.atoms))
    changed = any((a - b).abs().max() > 1e-6 for a, b in zip(outputs(half, inputs), outputs(whole, inputs)))
    assert changed


def test_halving_the_gates_of_a_relu_layer_halves_its_contribution() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3, bias=False)).double()
    x = torch.randn(5, 4).double()
    structure = trace(model, x)
    before = model(x)
    tensors = dict(model.named_parameters())
    with torch.no_grad():
        for name, gates in structure.gates.items():
            assert name.startswith("0.") and [g.axis for g in gates] == [0]
            tensors[name].mul_(0.5)
    torch.testing.assert_close(model(x), before / 2)
