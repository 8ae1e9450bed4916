"""Residual blocks: which modules are, that taking them out is exact, what it costs, and how it is recorded."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateurs import artifact
from secateurs.errors import StructureError
from secateurs.measure import count_macs
from secateurs.structure import Structure, Surgery, mask, remap_optimizer, replay, shrink, trace
from secateurs.structure.bypass import Passthrough

from .residual_networks import BLOCKS, REFUSED, PreActivation, built
from .test_exactness import outputs

EXPECTED = {
    "resnet20": {
        "layer1": ["layer1.0", "layer1.1", "layer1.2"],
        "layer2": ["layer2.1", "layer2.2"],
        "layer3": ["layer3.1", "layer3.2"],
    },
    "vit": {"blocks": ["blocks.0", "blocks.1", "blocks.2", "blocks.3"]},
    "preactivation": {"model": ["1", "2", "3"]},
    "postactivation": {"model": ["4"], "model#2": ["6"]},
    "relu6": {"model": ["3"]},
    "signed_stream": {},
    "encoder_prenorm": {"layers": ["layers.0", "layers.1", "layers.2"]},
    "encoder_postnorm": {},
    "tuples": {"layers": ["layers.0", "layers.1", "layers.2"]},
    "needed": {"body": ["body.0", "body.3"]},
    "convnext": {"1": ["1.0", "1.1"], "3": ["3.0", "3.1"]},
    "mixed": {"body": ["body.a", "body.c"], "body#2": ["body.b"]},
    "refused": {"body": ["body.fine", "body.last"]},
}
WITH = [name for name, families in EXPECTED.items() if families]
TRACED: dict[str, tuple[nn.Module, Any, Structure]] = {}


def traced(name: str) -> tuple[nn.Module, Any, Structure]:
    """A fresh copy of the network with its structure (traced once)."""
    if name not in TRACED:
        model, inputs = built(name)
        TRACED[name] = model, inputs, trace(model, inputs, blocks=True)
    model, inputs, structure = TRACED[name]
    return copy.deepcopy(model), inputs, structure


def found(structure: Structure) -> dict[str, list[str]]:
    return {f.name: f.members for f in structure.families if f.kind == "block"}


def refusals(structure: Structure) -> dict[str, str]:
    return {f.where: f.reason for f in structure.frozen if f.kind == "block"}


def dropping(structure: Structure, density: float, seed: int = 0, kinds: tuple[str, ...] = ("block",)) -> Tensor:
    """A random mask over atoms of some kinds; at least one of them goes."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(structure.atoms, generator=generator) < density
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    for family in structure.families:
        if family.kind in kinds:
            keep[family.atoms] = drawn[family.atoms]
            if int(keep[family.atoms].sum()) < family.minimum:
                keep[family.atoms[0]] = True
    able = [f.atoms[-1] for f in structure.families if f.kind in kinds and len(f.atoms) > f.minimum]
    if able and keep.all():
        keep[able[seed % len(able)]] = False
    return keep


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_those_worked_out_by_hand(name: str) -> None:
    _, _, structure = traced(name)
    assert found(structure) == EXPECTED[name]
    assert sum(len(f.atoms) for f in structure.families) == structure.atoms
    assert all(f.minimum == 0 for f in structure.families if f.kind == "block")
    atoms = [b.atom for b in structure.bypasses]
    assert not any(np.isin(atoms, ids).any() for ids in structure.axes.values())


def test_what_is_no_block_says_why() -> None:
    _, _, structure = traced("refused")
    told = {path.removeprefix("body."): reason for path, reason in refusals(structure).items()}
    assert set(told) == set(REFUSED)
    fragments = {
        "loud": "cannot be silenced", "scaled": "no residual addition", "normed": "native_layer_norm comes after",
        "clipped": "clamp may change", "scrambled": "does not return what it is given", "stored": "stores",
        "more": "returns more", "dict": "returns a dict", "twice": "called 2 times", "tied": "'out.weight'",
        "read": "other code reads", "lent": "other code reads",
    }  # fmt: skip
    assert {how: text for how, text in fragments.items() if text not in told[how]} == {}
    assert refusals(traced("encoder_postnorm")[2]).keys() == {"layers.0", "layers.1"}
    assert "relu may change" in refusals(traced("signed_stream")[2])["1"]
    assert "hardtanh may change" in refusals(traced("relu6")[2])["2"]
    needed = refusals(traced("needed")[2])
    assert needed.keys() == {"body.1", "body.2"} and all("does not run the same" in r for r in needed.values())
    assert "has not the shape" in refusals(traced("resnet20")[2])["layer2.0"]


@pytest.mark.parametrize("density", [0.7, 0.3, 0.0])
@pytest.mark.parametrize("kinds", [("block",), ("block", "channel", "head")])
@pytest.mark.parametrize("name", WITH)
def test_masked_equals_shrunk(name: str, kinds: tuple[str, ...], density: float) -> None:
    model, inputs, structure = traced(name)
    keep = dropping(structure, density, kinds=kinds)
    small = shrink(model, structure, keep, check=False).model
    expected = outputs(mask(copy.deepcopy(model), structure, keep), inputs)
    got = outputs(small, inputs)
    assert len(expected) == len(got)
    for a, b in zip(expected, got):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)
    assert not all(torch.equal(a, b) for a, b in zip(outputs(model, inputs), got))


@pytest.mark.parametrize("density", [0.5, 0.0])
@pytest.mark.parametrize("kinds", [("block",), ("block", "channel", "head")])
@pytest.mark.parametrize("name", WITH)
def test_counts_predicted_are_counts_made(name: str, kinds: tuple[str, ...], density: float) -> None:
    model, inputs, structure = traced(name)
    keep = dropping(structure, density, kinds=kinds)
    small = shrink(model, structure, keep).model
    assert structure.amount("params", keep) == sum(p.numel() for p in small.parameters())
    held = [*small.parameters(), *small.buffers()]
    assert structure.amount("bytes", keep) == sum(t.numel() * t.element_size() for t in held)
    assert round(structure.amount("macs", keep)) == count_macs(small, inputs)
    assert structure.amount("macs", keep) < structure.amount("macs")


@pytest.mark.parametrize("name", WITH)
def test_the_restricted_structure_is_that_of_the_smaller_model(name: str) -> None:
    model, inputs, structure = traced(name)
    keep = dropping(structure, 0.5)
    small = shrink(model, structure, keep, inplace=True).model
    left, again = structure.restrict(keep), trace(small, inputs, blocks=True)
    alive = {p for f in EXPECTED[name].values() for p in f} - {b.path for b in _gone(structure, keep)}
    assert {p for members in found(left).values() for p in members} == alive
    assert {p for members in found(again).values() for p in members} == alive
    for resource in ("params", "bytes", "macs"):
        assert left.amount(resource) == again.amount(resource) == structure.amount(resource, keep)
    gone = tuple(b.path + "." for b in _gone(structure, keep))
    assert not [n for held in (left.gates, left.shapes, left.shared) for n in held if n.startswith(gone)]
    assert not [n for n, _ in left.axes if n.startswith(gone)]
    nothing = dropping(left, 0.0)
    assert left.amount("params", nothing) == again.amount("params", dropping(again, 0.0))
    smallest = shrink(small, left, nothing).model
    at_once = shrink(traced(name)[0], structure, dropping(structure, 0.0)).model
    for a, b in zip(outputs(smallest, inputs), outputs(at_once, inputs)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def _gone(structure: Structure, keep: Tensor) -> list[Any]:
    return [b for b in structure.bypasses if not keep[b.atom]]


@pytest.mark.parametrize("name", WITH)
def test_cuts_replay_as_one_on_a_fresh_model(name: str) -> None:
    model, inputs, structure = traced(name)
    fresh = copy.deepcopy(model)
    first = shrink(model, structure, dropping(structure, 0.8, 1, ("channel", "head")), inplace=True).surgery
    structure = trace(model, inputs, blocks=True)
    second = shrink(model, structure, dropping(structure, 0.5), inplace=True).surgery
    structure = trace(model, inputs, blocks=True)
    third = shrink(model, structure, dropping(structure, 0.0), inplace=True).surgery
    whole = Surgery.model_validate_json(first.then(second).then(third).model_dump_json())
    assert not [n for held in (whole.kept, whole.attributes, whole.swapped) for n in held
                if any(n.startswith(path + ".") for path in whole.bypassed)]  # fmt: skip
    again = replay(fresh, whole)
    assert repr(again) == repr(model)
    assert again.state_dict().keys() == model.state_dict().keys()
    for a, b in zip(outputs(again, inputs), outputs(model, inputs)):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("name", WITH)
@pytest.mark.parametrize("s", [0.3, 0.9])
def test_participation_scales_the_branch_alone(name: str, s: float) -> None:
    """Scaling the silencers by s gives x + s·f(x), where one sum stands alone in the block."""
    model, inputs, structure = traced(name)
    for bypass in structure.bypasses:
        one, part = copy.deepcopy(model), copy.deepcopy(model)
        _scale(part, structure, bypass.atom, s)
        given, full = _through(one, bypass.path, inputs)
        _, less = _through(part, bypass.path, inputs)
        if name in ("vit", "encoder_prenorm", "tuples"):  # the second branch sees the first one's sum
            assert 0 < (less - given).norm() < (full - given).norm() * 1.5
        elif name in ("resnet20", "postactivation", "relu6"):
            before = _silent_sum(copy.deepcopy(model), structure, bypass, inputs, s)
            torch.testing.assert_close(less, before, rtol=1e-9, atol=1e-9)
        else:
            torch.testing.assert_close(less, given + s * (full - given), rtol=1e-9, atol=1e-9)


def _scale(model: nn.Module, structure: Structure, atom: int, s: float) -> None:
    named = dict(model.named_parameters())
    with torch.no_grad():
        for name, gates in structure.gates.items():
            for gate in gates:
                index = torch.from_numpy(np.flatnonzero(gate.ids == atom))
                named[name].index_copy_(gate.axis, index, s * named[name].index_select(gate.axis, index))


def _through(model: nn.Module, path: str, inputs: Any) -> tuple[Tensor, Tensor]:
    """What a module is given, and what it returns."""
    seen: list[Tensor] = []

    def before(_: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append((args[0] if args else kwargs["hidden_states"]).clone())

    def after(_: nn.Module, __: Any, out: Any) -> None:
        seen.append((out if isinstance(out, Tensor) else out[0]).clone())

    module = model.get_submodule(path)
    module.register_forward_pre_hook(before, with_kwargs=True)
    module.register_forward_hook(after)
    with torch.no_grad():
        outputs(model, inputs)
    return seen[0], seen[1]


def _silent_sum(model: nn.Module, structure: Structure, bypass: Any, inputs: Any, s: float) -> Tensor:
    """activation(x + s·f(x)), f(x) read where the last norm puts it out."""
    given, _ = _through(model, bypass.path, inputs)
    block = model.get_submodule(bypass.path)
    with torch.no_grad():
        first = block.bn1(block.conv1(given)).relu()
        limit = 6.0 if isinstance(getattr(block, "act", None), nn.ReLU6) else torch.inf
        return (given + s * block.bn2(block.conv2(first.clamp(max=limit)))).clamp(0, limit)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("name", ["resnet20", "tuples", "encoder_prenorm"])
def test_the_optimizer_goes_on_with_what_is_left(name: str, optimizer: str) -> None:
    model, inputs, structure = traced(name)
    make = {
        "sgd": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, 1e-3, amsgrad=True),
        "adamw": lambda p: torch.optim.AdamW(p, 1e-3),
    }[optimizer]
    other = nn.Parameter(torch.zeros(3))  # of another model, and none of the surgery's business
    vectors, others = ([p for p in model.parameters() if (p.dim() < 2) == small] for small in (True, False))
    stepper = make([{"params": vectors}, {"params": [*others, other]}])
    for _ in range(2):
        stepper.zero_grad()
        sum(t.square().mean() for t in outputs(model, inputs)).backward()  # type: ignore[union-attr]
        stepper.step()
    keep = dropping(structure, 0.5)
    lost = [p for b in _gone(structure, keep) for p in model.get_submodule(b.path).parameters()]
    surgery = shrink(model, structure, keep, inplace=True).surgery
    assert lost and all(p.numel() == 0 and p.grad is None for p in lost)
    remap_optimizer(stepper, model, surgery)
    left = [id(p) for group in stepper.param_groups for p in group["params"]]
    assert sorted(left) == sorted(id(p) for p in [*model.parameters(), other])
    assert not any(p in stepper.state for p in lost)
    stepper.zero_grad()
    sum(t.square().mean() for t in outputs(model, inputs)).backward()  # type: ignore[union-attr]
    stepper.step()
    stepper.load_state_dict(copy.deepcopy(stepper.state_dict()))


def test_what_stands_in_fits_its_callers() -> None:
    model, _, structure = traced("tuples")
    small = shrink(model, structure, dropping(structure, 0.0)).model
    assert all(isinstance(layer, Passthrough) for layer in small.layers)  # type: ignore[union-attr]
    assert small.layers[0].attention_type == "sliding" and not list(small.layers.parameters())  # type: ignore
    x, bias = torch.randn(2, 5, 8), torch.randn(2, 5, 1)
    back = small.layers[1](hidden_states=x, attention_mask=None, bias=bias)  # type: ignore[operator, index]
    assert isinstance(back, tuple) and back[0] is x and back[1] is bias and back[2] is None
    plain = shrink(*traced("preactivation")[::2], dropping(traced("preactivation")[2], 0.0)).model
    assert all(type(plain[i]) is nn.Identity for i in (1, 2, 3))  # type: ignore[index]
    torch.jit.script(plain.float())
    encoder, given, held = traced("encoder_prenorm")
    layers = shrink(encoder, held, dropping(held, 0.0)).model
    assert layers.layers[0].self_attn.batch_first is True  # type: ignore[union-attr, index]
    with torch.no_grad():
        layers.eval()(*given, src_key_padding_mask=torch.zeros(2, 5, dtype=torch.bool))


def test_a_wrong_gate_or_wiring_is_caught() -> None:
    model, _, structure = traced("tuples")
    keep = dropping(structure, 0.0)
    bad = copy.deepcopy(structure)
    bad.gates = {name: gates for name, gates in bad.gates.items() if "down" not in name}
    with pytest.raises(StructureError, match="would change what it computes"):
        shrink(model, bad, keep)
    first = structure.bypasses[0]
    swapped = first.wiring.model_copy(update={"items": (first.wiring.items[0], first.wiring.items[0], None)})
    bad = copy.deepcopy(structure)
    object.__setattr__(bad.bypasses[0], "wiring", swapped)
    with pytest.raises(StructureError, match="would change what it computes"):
        shrink(model, bad, keep)


def test_a_replay_on_another_architecture_is_refused() -> None:
    model, _, structure = traced("preactivation")
    surgery = shrink(model, structure, dropping(structure, 0.0)).surgery
    with pytest.raises(StructureError, match="no module '1'"):
        replay(nn.Sequential(nn.Linear(2, 2)), surgery)


def test_the_model_is_untouched_and_a_plain_trace_finds_no_blocks() -> None:
    model, inputs = built("tuples")
    before = copy.deepcopy(model.state_dict())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    trace(model, inputs, blocks=True)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    plain = trace(model, inputs)
    assert not found(plain) and not plain.bypasses and not refusals(plain)


def test_explain_says_what_a_block_is() -> None:
    _, _, structure = traced("resnet20")
    assert "layer1: 3 blocks, each cut whole" in structure.explain("layer1")
    assert "layer2.0: no block: what it returns" in structure.explain("layer2.0")


class Branching(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > -1e9 else -x)


class Doubling(PreActivation):
    """Not the identity on data that the trace does not see."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.abs().max() < 1e9 else 2 * x)


def test_where_code_branches_on_values_a_block_does_not() -> None:
    """Such code is traced without fakes."""
    model, inputs = built("preactivation")
    layers = list(model)  # type: ignore[call-overload]
    branching = Branching(*layers[:2], Doubling(6).double().eval(), *layers[3:])
    structure = trace(branching, inputs, blocks=True)
    assert found(structure) == {"model": ["1", "3"]}
    assert "looks at values" in refusals(structure)["2"]
    shrink(branching, structure, dropping(structure, 0.0))
    model, inputs = built("needed")
    for block in model.body:  # type: ignore[union-attr]
        del block.norm  # which no code reads
    structure = trace(Branching(model), inputs, blocks=True)
    assert found(structure) == {"0.body": ["0.body.0", "0.body.3"]}
    assert {"0.body.1", "0.body.2"} == {p for p, why in refusals(structure).items() if "does not run the same" in why}


@pytest.mark.parametrize("name", ["preactivation", "tuples", "encoder_prenorm"])
def test_what_is_left_exports(name: str, tmp_path: Path) -> None:
    """To ONNX, and as a program of torch's operators."""
    model, inputs, structure = traced(name)
    model, inputs = model.float(), tuple(t.float() for t in inputs)
    small = shrink(model, structure, dropping(structure, 0.5), inputs).model.eval()
    report = artifact.export_onnx(small, inputs, tmp_path / "small.onnx")
    assert report.max_abs_difference < 1e-4
    back = artifact.load(artifact.save(small, tmp_path / "a", factory=None, example_inputs=inputs))
    for a, b in zip(outputs(back, inputs), outputs(small, inputs)):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
