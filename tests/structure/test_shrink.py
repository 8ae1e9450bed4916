"""Refusals, the oracle, optimizer state and repeated cuts."""

from __future__ import annotations

import copy
import gc
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateurs.errors import StructureError
from secateurs.structure import Structure, mask, remap_optimizer, replay, shrink, trace

from .networks import build
from .test_exactness import outputs, random_keep

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, 1e-2, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-2, foreach=False),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-2, momentum=0.9, centered=True),
}


def loss(model: nn.Module, inputs: Any) -> Tensor:
    return torch.stack([t.square().mean() for t in outputs(model, inputs)]).sum()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["mlp", "conv_chain", "residual_b", "vit", "encoder", "tied"])
def test_a_step_after_the_cut_is_the_masked_networks_step_on_the_survivors(name: str, optimizer: str) -> None:
    model, inputs = build(name)
    model.eval()  # no dropout; batch norm affine still learns
    structure = trace(model, inputs)
    stepper = OPTIMIZERS[optimizer](model.parameters())
    for _ in range(2):
        stepper.zero_grad()
        loss(model, inputs).backward()
        stepper.step()
    keep = random_keep(structure, 4, 0.6)
    masked = mask(copy.deepcopy(model), structure, keep)
    other = OPTIMIZERS[optimizer](masked.parameters())
    other.load_state_dict(copy.deepcopy(stepper.state_dict()))

    parameters = list(model.parameters())
    result = shrink(model, structure, keep, inplace=True)
    assert result.model is model
    assert all(a is b for a, b in zip(parameters, model.parameters()))
    assert all(p.grad is None for n, p in model.named_parameters() if n in result.surgery.kept)
    remap_optimizer(stepper, model, result.surgery)

    for net, opt in ((model, stepper), (masked, other)):
        opt.zero_grad()
        loss(net, inputs).backward()
        opt.step()
    for (n, small), (m, full) in zip(model.named_parameters(), masked.named_parameters()):
        assert n == m
        torch.testing.assert_close(small, result.surgery.cut(n, full.detach()), rtol=1e-9, atol=1e-11)
    for parameter in model.parameters():
        for value in stepper.state[parameter].values():
            assert not isinstance(value, Tensor) or value.dim() == 0 or value.shape == parameter.shape


def test_an_emptied_layer_is_refused_and_nothing_changes() -> None:
    model, inputs = build("mlp")
    structure = trace(model, inputs)
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    keep[structure.family("2").atoms] = False
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(StructureError, match=r"0 of the 7 channels of '2'"):
        shrink(model, structure, keep, inplace=True)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("keep", [torch.ones(3, dtype=torch.bool), torch.ones(15), np.ones(15, dtype=int)])
def test_a_mask_of_another_form_is_refused(keep: Any) -> None:
    model, inputs = build("mlp")
    with pytest.raises(StructureError, match="15 atoms"):
        shrink(model, trace(model, inputs), keep)


def test_a_structure_of_another_model_is_refused() -> None:
    model, inputs = build("mlp")
    structure = trace(model, inputs)
    keep = torch.arange(15) > 0
    small = shrink(model, structure, keep).model
    with pytest.raises(StructureError, match="trace the model again"):
        shrink(small, structure, keep)


def _poisoned(structure: Structure) -> Structure:
    """Gates that name the wrong rows: what a wrong rule would give."""
    bad = copy.deepcopy(structure)
    for gates in bad.gates.values():
        for gate in gates:
            gate.ids[:] = np.roll(gate.ids, 1)
    return bad


@pytest.mark.parametrize("name", ["mlp", "conv_chain", "residual_b", "vit", "dense_concat"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_oracle_catches_wrong_gates(name: str, dtype: torch.dtype) -> None:
    model, inputs = build(name)
    model, inputs = model.to(dtype), tuple(t.to(dtype) for t in inputs)
    structure = trace(model, inputs)
    keep = random_keep(structure, 0, 0.6)
    shrink(model, structure, keep)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(StructureError, match="would change what it computes"):
        shrink(model, _poisoned(structure), keep, inplace=True)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_oracle_catches_shuffled_indices() -> None:
    """Right shapes, wrong indices: the trap of channel shuffles."""
    model, inputs = build("shuffle")
    structure = trace(model, inputs)
    ids = structure.axes["b.weight", 0]
    structure.axes["b.weight", 0] = np.roll(ids, 1)
    keep = np.ones(structure.atoms, dtype=bool)
    keep[-1] = False
    with pytest.raises(StructureError, match="would change"):
        shrink(model, structure, keep)


def test_several_cuts_replay_as_one() -> None:
    for name in ("residual_a_pair", "encoder", "depthwise_separable", "group_norm"):
        model, inputs = build(name)
        fresh = copy.deepcopy(model)
        structure = trace(model, inputs)
        first = shrink(model, structure, random_keep(structure, 1, 0.8), inplace=True).surgery
        structure = trace(model, inputs)
        second = shrink(model, structure, random_keep(structure, 2, 0.7), inplace=True).surgery
        again = replay(fresh, first.then(second))
        assert repr(again) == repr(model)
        for (_, a), (_, b) in zip(again.state_dict().items(), model.state_dict().items()):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_users_model_and_its_class_survive() -> None:
    model, inputs = build("residual_b")
    structure = trace(model, inputs)
    small = shrink(model, structure, random_keep(structure, 0, 0.5)).model
    assert type(small) is type(model)
    twin = copy.deepcopy(small)
    twin.load_state_dict(small.state_dict())
    traced = torch.jit.trace(small.eval(), inputs)
    exported = torch.export.export(small, inputs).module()
    for other in (twin.eval(), traced, exported):
        torch.testing.assert_close(other(*inputs), small(*inputs))


def test_channels_last_weights_stay_so() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3)).to(memory_format=torch.channels_last)
    structure = trace(model, torch.randn(2, 4, 8, 8))
    small = shrink(model, structure, torch.arange(6) > 1).model
    assert small[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_example_inputs_of_another_length_hold_too() -> None:
    encoder, tokens = build("encoder")
    structure = trace(encoder, tokens)
    keep = random_keep(structure, 3, 0.5)
    shrink(encoder, structure, keep, (F.pad(tokens[0], (0, 0, 0, 4)),))


def test_a_trace_leaves_pythons_collector_as_it_was() -> None:
    class Raising(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of order")

    assert gc.isenabled()
    with pytest.raises(StructureError, match="out of order"):
        trace(Raising(3, 2), torch.ones(1, 3))
    assert gc.isenabled()
    gc.disable()
    try:
        trace(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.ones(1, 3))
        assert not gc.isenabled()
    finally:
        gc.enable()
