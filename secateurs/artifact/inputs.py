"""Example inputs: their signature for the manifest, and batches of other sizes made from them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from .manifest import InputEntry


def as_call(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """``(args, kwargs)`` of a tensor, a tuple or list of positional, or a dict of keyword arguments."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, (tuple, list)):
        return tuple(inputs), {}
    return (inputs,), {}


def signature(inputs: Any) -> InputEntry:
    """Shapes, dtypes and nesting; a leaf of the tree is its index among the tensors, or a plain value."""
    tensors: list[Tensor] = []

    def walk(node: Any) -> Any:
        if isinstance(node, Tensor):
            tensors.append(node)
            return {"tensor": len(tensors) - 1}
        if isinstance(node, Mapping):
            return {"dict": {str(key): walk(value) for key, value in node.items()}}
        if isinstance(node, (tuple, list)):
            return {"list": [walk(value) for value in node]}
        return {"value": node if isinstance(node, (bool, int, float, str, type(None))) else repr(node)}

    args, kwargs = as_call(inputs)
    tree = {"args": [walk(a) for a in args], "kwargs": {key: walk(value) for key, value in kwargs.items()}}
    return InputEntry(
        tree=tree,
        shapes=[list(tensor.shape) for tensor in tensors],
        dtypes=[dtype_name(tensor.dtype) for tensor in tensors],
    )


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of any output: nests of tuples, lists, mappings, dataclasses, registered classes."""
    found: list[Tensor] = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, Mapping):
            found += tensors_in(list(leaf.values()))
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            found += tensors_in([getattr(leaf, field.name) for field in dataclasses.fields(leaf)])
    return found


def batch_of(inputs: Any) -> int:
    """Length of the first axis of the first tensor that has one; 0 where there is none."""
    return next((tensor.shape[0] for tensor in tensors_in(as_call(inputs)) if tensor.ndim), 0)


def batched(tensor: Tensor, batch: int) -> bool:
    """Whether a tensor's first axis is taken for the batch: it is as long as the first input's."""
    return tensor.ndim > 0 and tensor.shape[0] == batch


def resized(inputs: Any, size: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """``(args, kwargs)`` with ``size`` examples: the given ones in turn, so values stay valid (token ids)."""
    batch = batch_of(inputs)
    rows = torch.arange(size) % max(batch, 1)

    def resize(tensor: Tensor) -> Tensor:
        return tensor[rows.to(tensor.device)].contiguous() if batched(tensor, batch) else tensor

    return tree_map_only(Tensor, resize, as_call(inputs))


def device_of(model: nn.Module) -> torch.device:
    """Where the first parameter or buffer lies; the CPU for a model without any."""
    tensor = next(itertools.chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def moved(inputs: Any, device: torch.device | str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """``(args, kwargs)`` with every tensor on ``device``."""
    return tree_map_only(Tensor, lambda tensor: tensor.detach().to(device), as_call(inputs))


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside; every module's own mode is restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def exporting(model: nn.Module) -> Iterator[None]:
    """:func:`evaluating`, and without the cache of keys and values that language models return unless their
    configuration says otherwise: it is an object of its own class, and of no use to a program that takes none."""
    held: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    configs = [config for config in held if getattr(config, "use_cache", None) is True]
    try:
        for config in configs:
            config.use_cache = False
        with evaluating(model):
            yield
    finally:
        for config in configs:
            config.use_cache = True


def answer(model: nn.Module, inputs: Any) -> list[Tensor]:
    """The output's tensors, in eval mode and at a fixed seed; random state and buffers are restored."""
    device = device_of(model)
    args, kwargs = moved(inputs, device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), evaluating(model), unwritten(model):
        torch.manual_seed(0)
        return tensors_in(model(*args, **kwargs))


@contextlib.contextmanager
def unwritten(model: nn.Module) -> Iterator[None]:
    """Buffers that the model writes into inside (counters, caches) have their former content afterwards."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, content in before:
                if buffer.shape == content.shape:
                    buffer.copy_(content)


def difference(found: list[Tensor], wanted: list[Tensor]) -> tuple[float, float]:
    """Largest absolute difference, and the largest magnitude it is to be judged by.

    Infinite where shapes or the number of tensors differ, or where one is finite and the other not.
    """
    if [tuple(t.shape) for t in found] != [tuple(t.shape) for t in wanted]:
        return float("inf"), 1.0
    worst, scale = 0.0, 1.0
    for one, other in zip(found, wanted):
        if not one.numel():
            continue
        wide = torch.complex128 if other.is_complex() else torch.float64
        a, b = one.detach().cpu().to(wide), other.detach().cpu().to(wide)
        same = (a == b) | (a.isnan() & b.isnan())
        gap = torch.where(same, torch.zeros_like(a), a - b).abs()
        worst = max(worst, float(gap.nan_to_num(nan=float("inf"), posinf=float("inf")).max()))
        finite = b.abs()[b.isfinite()]
        scale = max(scale, float(finite.max())) if finite.numel() else scale
    return worst, scale


def dtype_name(dtype: torch.dtype) -> str:
    """``torch.float32`` → ``float32``."""
    return str(dtype).removeprefix("torch.")
