"""The record of a cut: enough to make the same cut on a fresh instance of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ..errors import StructureError, unknown
from .attributes import kept_attributes, layer_attributes
from .bypass import Wiring, bypass
from .copying import named_tensors
from .modules import REGISTERED
from .naming import inside
from .pretrained import follow_cut
from .resizing import merged, resize, rows_of
from .types import Array, Structure


class Surgery(BaseModel):
    """What is kept of every cut tensor axis, and what changes on modules. JSON-able.

    Attributes:
        kept: tensor → axis → indices kept, ascending.
        shapes: tensor → shape before the cut, checked on replay.
        attributes: module path → attribute → new value.
        swapped: module path → name of the registered class that takes over.
        resized: module path → rows of a call with explicit sizes, the position of one, and the size due there: a number
            (null before it), or as many for each number before it (see :mod:`.resizing`).
        bypassed: module path → which of its arguments what stands in its place returns.
    """

    model_config = ConfigDict(extra="forbid")

    kept: dict[str, dict[int, list[int]]] = Field(default_factory=dict)
    shapes: dict[str, list[int]] = Field(default_factory=dict)
    attributes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    swapped: dict[str, str] = Field(default_factory=dict)
    resized: dict[str, list[tuple[str, int, int | None, int]]] = Field(default_factory=dict)
    bypassed: dict[str, Wiring] = Field(default_factory=dict)

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
        both = {**self.swapped, **other.swapped}
        whole = Surgery(kept=kept, shapes=shapes, attributes=attributes, swapped=both)
        paths = [*self.resized, *(p for p in other.resized if p not in self.resized)]
        whole.resized = {p: merged(self.resized.get(p, ()), other.resized.get(p, ())) for p in paths}
        whole.bypassed = {**self.bypassed, **other.bypassed}
        return whole._forgetting()

    def since(self, earlier: Surgery) -> Surgery:
        """Only the indices that stay of what ``earlier``, the first part of this cut, had left."""
        out = Surgery(bypassed={p: w for p, w in self.bypassed.items() if p not in earlier.bypassed})
        for name, axes in self.kept.items():
            held = earlier.kept.get(name, {})
            for axis, indices in axes.items():
                before = held.get(axis, range(self.shapes[name][axis]))
                if len(before) == len(indices):
                    continue
                place = {index: i for i, index in enumerate(before)}
                out.kept.setdefault(name, {})[axis] = [place[i] for i in indices]
                out.shapes[name] = [len(held[a]) if a in held else n for a, n in enumerate(self.shapes[name])]
        return out

    def _forgetting(self) -> Surgery:
        """Without what happens inside a module that goes altogether."""
        for held in (self.kept, self.attributes, self.swapped, self.resized):
            for name in [n for n in held if inside(n, *self.bypassed)]:
                del held[name]  # type: ignore[attr-defined]
        return self

    def cut(self, name: str, tensor: Tensor) -> Tensor:
        """The kept part of a tensor that has the shape of ``name`` (a parameter, its gradient or moment)."""
        for axis, indices in self.kept.get(name, {}).items():
            index = torch.tensor(indices, dtype=torch.long, device=tensor.device)
            channels_last = tensor.dim() == 4 and not tensor.is_contiguous()
            tensor = tensor.index_select(axis, index)
            if channels_last:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor


def removed(structure: Structure, keep: Array) -> list[str]:
    """Blocks that are not kept."""
    return [b.path for b in structure.bypasses if not keep[b.atom]]


def plan(model: nn.Module, structure: Structure, keep: Array) -> Surgery:
    """The surgery that keeps these atoms; attributes of PyTorch's own layers follow when it is applied."""
    alive = np.append(keep, True)
    surgery = Surgery(attributes=kept_attributes(structure.attributes, keep, model))
    surgery.bypassed = {b.path: b.wiring for b in structure.bypasses if not keep[b.atom]}
    for (name, axis), ids in structure.axes.items():
        stays = alive[ids]
        if not stays.all():
            surgery.kept.setdefault(name, {})[axis] = np.flatnonzero(stays).tolist()
            surgery.shapes[name] = list(structure.shapes[name])
    for swap in structure.swaps:
        if not alive[swap.ids].all():
            surgery.swapped[swap.path] = swap.target
    surgery.resized = rows_of(structure.resizes, alive, surgery.kept)
    for path, module in model.named_modules():
        # An encoder hands its layers nested tensors only they, uncut, can read.
        nested = isinstance(module, nn.TransformerEncoder) and getattr(module, "use_nested_tensor", False)
        if nested and any(inside(swapped, path) for swapped in surgery.swapped):
            surgery.attributes.setdefault(path, {})["use_nested_tensor"] = False
    return surgery._forgetting()


def refit(model: nn.Module, surgery: Surgery) -> None:
    """After the tensors were cut: take blocks out, swap classes, set attributes, and record layers' own widths."""
    for path, wiring in surgery.bypassed.items():
        bypass(model, path, wiring)
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
    for path, rows in surgery.resized.items():
        resize(model.get_submodule(path), rows)
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
    """Cut the model in place; Parameter objects stay the same, gradients are dropped. Those of blocks that go are
    left empty, so that an optimizer that still holds them does not hold their memory."""
    held = list(named_tensors(model))
    for name, tensor in held:
        if name in surgery.kept:
            # `.data` keeps the Parameter's identity, so optimizers and ties go on referring to it.
            tensor.grad = None
            tensor.data = surgery.cut(name, tensor.detach())
    refit(model, surgery)
    left = {id(tensor) for _, tensor in named_tensors(model)}
    for _, tensor in held:
        if id(tensor) not in left:
            tensor.grad = None
            tensor.data = tensor.data.new_empty(0)
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # cuDNN wants all of them in one piece of memory
    _forget(model)
    follow_cut(model)


def _forget(model: nn.Module) -> None:
    """Let modules drop what they keep of their tensors, such as biases looked up once for evaluation.

    They do so when their tensors move (``to``) or a mode begins (``train``); here nothing moves and no mode changes.
    """
    modes = {module: module.training for module in model.modules()}
    for module, training in modes.items():
        if type(module).train is not nn.Module.train:
            module.train(training)
        if type(module)._apply not in (nn.Module._apply, nn.RNNBase._apply):
            module._apply(lambda tensor: tensor)
    for module, training in modes.items():
        module.training = training


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
    for path in (*surgery.swapped, *surgery.attributes, *surgery.resized, *surgery.bypassed):
        try:
            model.get_submodule(path)
        except AttributeError as error:
            raise StructureError(f"{type(model).__name__} has no module {path!r} that the surgery changes") from error
    # A plain copy of the record: applying it may add nothing new to the caller's.
    apply(model, surgery.model_copy(deep=True))
    return model
