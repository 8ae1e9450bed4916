"""The record of a cut: enough to make the same cut on a fresh instance of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ..errors import StructureError, unknown
from .attributes import kept_attributes, layer_attributes
from .copying import named_tensors
from .modules import REGISTERED
from .types import Array, Structure


class Surgery(BaseModel):
    """What is kept of every cut tensor axis, and what changes on modules. JSON-able.

    Attributes:
        kept: tensor → axis → indices kept, ascending.
        shapes: tensor → shape before the cut, checked on replay.
        attributes: module path → attribute → new value.
        swapped: module path → name of the registered class that takes over.
    """

    model_config = ConfigDict(extra="forbid")

    kept: dict[str, dict[int, list[int]]] = Field(default_factory=dict)
    shapes: dict[str, list[int]] = Field(default_factory=dict)
    attributes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    swapped: dict[str, str] = Field(default_factory=dict)

    def then(self, other: Surgery) -> Surgery:
        """This cut followed by ``other`` (recorded on the network that this one leaves), as one cut."""
        kept = {name: {a: list(i) for a, i in axes.items()} for name, axes in self.kept.items()}
        shapes = dict(self.shapes)
        for name, axes in other.kept.items():
            mine = kept.setdefault(name, {})
            if name not in shapes:
                shapes[name] = list(other.shapes[name])
            for axis, indices in axes.items():
                before = mine.get(axis)
                mine[axis] = [before[i] for i in indices] if before is not None else list(indices)
        attributes = {path: dict(a) for path, a in self.attributes.items()}
        for path, values in other.attributes.items():
            attributes.setdefault(path, {}).update(values)
        return Surgery(kept=kept, shapes=shapes, attributes=attributes, swapped={**self.swapped, **other.swapped})

    def cut(self, name: str, tensor: Tensor) -> Tensor:
        """The kept part of a tensor that has the shape of ``name`` (a parameter, its gradient or moment)."""
        for axis, indices in self.kept.get(name, {}).items():
            index = torch.tensor(indices, dtype=torch.long, device=tensor.device)
            channels_last = tensor.dim() == 4 and not tensor.is_contiguous()
            tensor = tensor.index_select(axis, index)
            if channels_last:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor


def plan(model: nn.Module, structure: Structure, keep: Array) -> Surgery:
    """The surgery that keeps these atoms; attributes of PyTorch's own layers follow when it is applied."""
    alive = np.append(keep, True)
    surgery = Surgery(attributes=kept_attributes(structure.attributes, keep, model))
    for (name, axis), ids in structure.axes.items():
        stays = alive[ids]
        if not stays.all():
            surgery.kept.setdefault(name, {})[axis] = np.flatnonzero(stays).tolist()
            surgery.shapes[name] = list(structure.shapes[name])
    for swap in structure.swaps:
        if not alive[swap.ids].all():
            surgery.swapped[swap.path] = swap.target
    for path, module in model.named_modules():
        # An encoder hands its layers nested tensors only they, uncut, can read.
        nested = isinstance(module, nn.TransformerEncoder) and getattr(module, "use_nested_tensor", False)
        if nested and any(_inside(swapped, path) for swapped in surgery.swapped):
            surgery.attributes.setdefault(path, {})["use_nested_tensor"] = False
    return surgery


def _inside(path: str, parent: str) -> bool:
    return not parent or path.startswith(parent + ".")


def refit(model: nn.Module, surgery: Surgery) -> None:
    """After the tensors were cut: swap classes, set attributes, and record layers' own widths."""
    for path, name in surgery.swapped.items():
        if name not in REGISTERED:
            raise unknown("replacement module", name, REGISTERED)
        module = model.get_submodule(path)
        module.__class__ = REGISTERED[name]
        adopt = getattr(module, "adopt", None)
        if adopt is not None:
            adopt()
    for path, values in surgery.attributes.items():
        module = model.get_submodule(path)
        for key, value in values.items():
            old = getattr(module, key, None)
            setattr(module, key, tuple(value) if isinstance(old, tuple) else value)
    touched = {name.rpartition(".")[0] for name in surgery.kept} | set(surgery.attributes)
    for path, module in model.named_modules(remove_duplicate=False):
        # A tied tensor is cut under one name but widens other modules too: look at all holders.
        if path in touched or any(True for _ in module.parameters(recurse=False)):
            for key, value in layer_attributes(module).items():
                if getattr(module, key, value) != value:
                    setattr(module, key, value)
                    stored = list(value) if isinstance(value, tuple) else value
                    surgery.attributes.setdefault(path, {})[key] = stored


def apply(model: nn.Module, surgery: Surgery) -> None:
    """Cut the model in place; Parameter objects stay the same, gradients are dropped."""
    for name, tensor in list(named_tensors(model)):
        if name in surgery.kept:
            # `.data` keeps the Parameter's identity, so optimizers and ties go on referring to it.
            tensor.grad = None
            tensor.data = surgery.cut(name, tensor.detach())
    refit(model, surgery)


def replay(model: nn.Module, surgery: Surgery) -> nn.Module:
    """Make the same cut on a fresh instance of the model, in place; returns the model.

    Raises:
        StructureError: the model is not of the architecture that was cut (a tensor is missing or has
            another shape). Nothing has been changed then.
    """
    present = {name: list(t.shape) for name, t in named_tensors(model)}
    for name, shape in surgery.shapes.items():
        if name not in present:
            raise StructureError(f"the surgery cuts {name!r}, which {type(model).__name__} does not have")
        if present[name] != shape:
            raise StructureError(
                f"the surgery cuts {name!r} of shape {tuple(shape)}, but here it has shape "
                f"{tuple(present[name])}; build the model with the arguments it was pruned with"
            )
    for path in (*surgery.swapped, *surgery.attributes):
        try:
            model.get_submodule(path)
        except AttributeError as error:
            raise StructureError(f"{type(model).__name__} has no module {path!r} that the surgery changes") from error
    # A plain copy of the record: applying it may add nothing new to the caller's.
    apply(model, surgery.model_copy(deep=True))
    return model
