"""The proof that runs in production: the network with atoms masked computes what the shrunk one does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree

from ..errors import StructureError
from .copying import call, copy_with, named_tensors, no_fastpath, tensors_in
from .ledger import Ledger
from .surgery import Surgery, refit
from .tracing import random_kept
from .trial import fake_shapes
from .types import Array, Run, Structure

# Relative to the largest output: rounding of sums in another order, through tens of layers.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4, torch.bfloat16: 5e-2, torch.float16: 2e-2}


def gated_slices(structure: Structure, dead: Array) -> Iterator[tuple[str, int, Array]]:
    """(parameter, axis, indices) of the gate slices of dead atoms."""
    flags = np.append(dead, False)
    for name, gates in structure.gates.items():
        for gate in gates:
            index = np.flatnonzero(flags[gate.ids])
            if index.size:
                yield name, gate.axis, index


@torch.no_grad()
def mask(model: nn.Module, structure: Structure, keep: Tensor | Array) -> nn.Module:
    """Zero the gate slices of the atoms that are not kept, in place; returns the model."""
    dead = ~structure.mask(keep)
    tensors = dict(named_tensors(model))
    for name, axis, index in gated_slices(structure, dead):
        tensor = tensors[name]
        tensor.index_fill_(axis, torch.from_numpy(index).to(tensor.device), 0)
    return model


def masked_copy(model: nn.Module, structure: Structure, keep: Array) -> nn.Module:
    """A copy that shares every tensor without dead gate slices and has the others zeroed."""
    dead = ~structure.mask(keep)
    hit = {name for name, _, _ in gated_slices(structure, dead)}
    copy = copy_with(model, lambda n, t: t.detach().clone() if n in hit else t.detach())
    return mask(copy, structure, keep)


def cut_copy(model: nn.Module, surgery: Surgery) -> nn.Module:
    """A copy with cut tensors; uncut ones are shared, so this is for running, not for keeping."""
    copy = copy_with(model, lambda n, t: surgery.cut(n, t.detach()))
    refit(copy, surgery)
    return copy


def run(model: nn.Module, inputs: Any, training: bool = False) -> list[Tensor]:
    """All output tensors, in eval mode or in training, without gradients; the modules' modes are as before after."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(random_kept(inputs))
        stack.enter_context(no_fastpath())
        stack.enter_context(torch.no_grad())
        inputs = _pytree.tree_map(lambda v: v.detach().clone() if isinstance(v, Tensor) else v, inputs)
        modes = {m: m.training for m in model.modules()}
        model.train() if training else model.eval()
        torch.manual_seed(0)  # inside fork_rng: random operators in a forward draw the same twice
        try:
            return tensors_in(call(model, inputs))
        finally:
            for module, training in modes.items():
                module.training = training


def difference(expected: list[Tensor], got: list[Tensor]) -> str | None:
    """Why two lists of outputs differ beyond rounding; None when they do not."""
    if len(expected) != len(got):
        return f"{len(got)} output tensors instead of {len(expected)}"
    for index, (a, b) in enumerate(zip(expected, got)):
        if a.shape != b.shape:
            return f"output {index} has shape {tuple(b.shape)} instead of {tuple(a.shape)}"
        if not a.is_floating_point():
            continue  # indices and masks may flip on ties that rounding decides
        a64, b64 = a.double(), b.double()
        finite = torch.isfinite(a64)
        if not torch.equal(finite, torch.isfinite(b64)):
            return f"output {index} is infinite or NaN in one of the two"
        a64, b64 = torch.where(finite, a64, 0), torch.where(finite, b64, 0)
        if not a64.numel():
            continue
        scale = max(float(a64.abs().max()), 1e-6)
        worst = float((a64 - b64).abs().max()) / scale
        if worst > TOLERANCE.get(a.dtype, 2e-4):
            return f"output {index} differs by {worst:.2g} of its largest value"
    return None


def verify(model: nn.Module, structure: Structure, keep: Array, surgery: Surgery, inputs: Any) -> None:
    """Hold the shrunk network against the masked one, on all inputs of the trace that took another way as well.

    In training mode, where that was traced, outputs are compared in shape only: dropout draws differ.

    Raises:
        StructureError: the shrunk network would compute something else.
    """
    try:
        further = [(other, beside(inputs, other.inputs)) for other in structure.runs]
        given = [inputs, *(held for other, held in further if not other.training)]
        expected = _each(masked_copy(model, structure, keep), given)
        got = _each(cut_copy(model, surgery), given)
        found = [difference(a, b) for a, b in zip(expected, got)]
        found += [_misshapen(model, surgery, other, held) for other, held in further if other.training]
        why = next((reason for reason in found if reason is not None), None)
    except StructureError:
        raise
    except Exception as error:
        why = f"the shrunk network does not run ({type(error).__name__}: {error})"
    if why is not None:
        raise StructureError(
            f"shrinking {type(model).__name__} would change what it computes: {why}. The model is unchanged. "
            "Trace it again on the same example inputs; if this remains, exclude the layers named by "
            "`inspect` around the operators it lists"
        )


def _each(model: nn.Module, several: list[Any]) -> list[list[Tensor]]:
    return [run(model, inputs) for inputs in several]


def _misshapen(model: nn.Module, surgery: Surgery, other: Run, inputs: Any) -> str | None:
    """What is wrong with the shapes that the shrunk network puts out in training mode."""
    if other.faked:
        shapes = [shape for shape, _ in fake_shapes(model, surgery, inputs, Ledger(training=True))]
    else:
        # A forward in training writes to what it holds, so this copy shares nothing.
        copy = copy_with(model, lambda n, t: surgery.cut(n, t.detach()).clone())
        refit(copy, surgery)
        shapes = [tuple(t.shape) for t in run(copy, inputs, training=True)]
    return None if shapes == other.shapes else "in training mode its outputs have other shapes"


def beside(like: Any, inputs: Any) -> Any:
    """Inputs on the device of others, and in their precision: the model may have moved since it was traced."""
    device = next((t.device for t in tensors_in(like)), None)
    new, old = (next((t.dtype for t in tensors_in(v) if t.is_floating_point()), None) for v in (like, inputs))

    def moved(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, new if value.dtype == old else None)

    return _pytree.tree_map(moved, inputs)
