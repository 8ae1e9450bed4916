"""Cut the atoms that are not kept out of a model, if and only if that changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import StructureError
from .copying import duplicate, named_tensors
from .oracle import verify
from .surgery import Surgery, apply, plan
from .types import Array, Structure


@dataclass(frozen=True)
class Shrunk:
    """A smaller model and the record of the cut."""

    model: nn.Module
    surgery: Surgery


def shrink(
    model: nn.Module,
    structure: Structure,
    keep: torch.Tensor | Array,
    example_inputs: Any = None,
    inplace: bool = False,
    check: bool = True,
) -> Shrunk:
    """Remove the atoms that ``keep`` does not keep.

    Args:
        structure: from ``trace(model, …)``.
        keep: booleans (atoms,).
        example_inputs: for the check; those of the trace when None.
        inplace: cut ``model`` itself; its Parameter objects stay, with smaller data and no gradient.
        check: compare the masked network with the shrunk one on the example inputs in eval mode, and on those of
            the structure's further runs.

    Raises:
        StructureError: a layer would be emptied, the structure is not this model's, or the outputs differ
            beyond rounding. The model is unchanged then.
    """
    keep = structure.mask(keep)
    _refuse(model, structure, keep)
    surgery = plan(model, structure, keep)
    inputs = example_inputs if example_inputs is not None else structure.inputs
    if check:
        if inputs is None:
            raise StructureError("shrink needs example_inputs to check the cut; pass them, or check=False")
        verify(model, structure, keep, surgery, inputs)
    if not inplace:
        model = duplicate(model)
    apply(model, surgery)
    return Shrunk(model, surgery)


def _refuse(model: nn.Module, structure: Structure, keep: Array) -> None:
    """Raise when the structure is another model's or a layer would be emptied."""
    shapes = {n: tuple(t.shape) for n, t in named_tensors(model)}
    for name, _ in structure.axes:
        if shapes.get(name) != structure.shapes[name]:
            raise StructureError(
                f"the structure was traced with {name!r} of shape {structure.shapes[name]}, the model has "
                f"{shapes.get(name, 'no such tensor')}; trace the model again"
            )
    for family in structure.families:
        kept = int(keep[family.atoms].sum())
        if kept < family.minimum:
            raise StructureError(
                f"keep leaves {kept} of the {len(family.atoms)} {family.kind}s of {family.name!r}; "
                f"at least {family.minimum} must stay"
            )
    alive = np.append(keep, True)
    for (name, axis), ids in structure.axes.items():
        if not alive[ids].any():
            raise StructureError(f"keep leaves nothing of axis {axis} of {name!r}; keep at least one of its groups")
