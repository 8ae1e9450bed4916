"""Copies of a model that share nothing they should not and copy no weights.

``deepcopy`` with a prepared memo copies the module tree and puts the tensors of our choice into it: fakes
for a trace, slices for a trial cut. The user's model is never touched.
"""

from __future__ import annotations

import contextlib
import copy
import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import StructureError


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by canonical (first) name, each tensor once."""
    seen: set[int] = set()
    for source in (
        model.named_parameters(remove_duplicate=False),
        model.named_buffers(remove_duplicate=False),
    ):
        for name, tensor in source:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor


def aliases(model: nn.Module) -> dict[str, str]:
    """Further names of tied parameters and buffers → the canonical name."""
    first: dict[int, str] = {}
    out: dict[str, str] = {}
    for source in (
        model.named_parameters(remove_duplicate=False),
        model.named_buffers(remove_duplicate=False),
    ):
        for name, tensor in source:
            canonical = first.setdefault(id(tensor), name)
            if canonical != name:
                out[name] = canonical
    return out


def copy_with(model: nn.Module, replace: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """Copy the module tree with ``replace(name, tensor)`` in place of every parameter and buffer.

    Raises:
        StructureError: the model cannot be copied, or has parameters that are not initialised yet.
    """
    memo: dict[int, Any] = {}
    for name, tensor in named_tensors(model):
        if isinstance(tensor, (nn.UninitializedParameter, nn.UninitializedBuffer)):
            raise StructureError(
                f"{name!r} has no shape yet (a lazy module); run the model once on an example input first"
            )
        new = replace(name, tensor)
        if isinstance(tensor, nn.Parameter):
            new = nn.Parameter(new, requires_grad=tensor.requires_grad and new.is_floating_point())
        memo[id(tensor)] = new
    for module in model.modules():
        # Tensors computed from parameters (weight norm keeps one) refuse to be deep-copied.
        for held in vars(module).values():
            for value in held if isinstance(held, list) else (held,):  # recurrent layers list their weights
                if isinstance(value, Tensor) and id(value) not in memo and not value.is_leaf:
                    memo[id(value)] = value.detach()
    try:
        # deepcopy keeps what it visits alive through the memo, so ids stay unique.
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise StructureError(
            f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error}); "
            "make it work with copy.deepcopy, for instance by not keeping open files on modules"
        ) from error


def duplicate(model: nn.Module) -> nn.Module:
    """A copy of the model and of all its tensors, without gradients.

    Raises:
        StructureError: the model cannot be copied.
    """
    return copy_with(model, lambda _, t: t.detach().clone(memory_format=torch.preserve_format))


def owner(model: nn.Module, name: str) -> tuple[nn.Module, str, str]:
    """The module that holds a tensor, the module's path, and the tensor's own name."""
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), path, leaf


def call(model: nn.Module, inputs: Any) -> Any:
    """Run a model on example inputs: a tensor, a tuple of arguments, or a dict of keyword arguments."""
    if isinstance(inputs, dict):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in an output: tuples, dicts, dataclasses, and objects that torch's pytree knows.

    But not those of a language model's cache of keys and values: that is its own state, and loses heads with it.
    """
    import dataclasses

    from torch.utils import _pytree

    found: list[Tensor] = []
    for leaf in _pytree.tree_leaves(value, is_leaf=lambda node: hasattr(node, "get_seq_length")):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, dict):
            found += tensors_in(dict(leaf))
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            found += tensors_in([getattr(leaf, f.name) for f in dataclasses.fields(leaf)])
    return found


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's collector, for as long as a run on fakes or a timing takes: it would look again and again at
    thousands of small objects that live until the end. What is left in cycles goes with the next collection."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def no_fastpath() -> Any:
    """Context: transformer layers run their ordinary code, whose operators can be read."""

    @contextlib.contextmanager
    def switched() -> Iterator[None]:
        enabled = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(enabled)

    return switched()
