"""Example inputs in their three spellings, the modes that a measurement needs, and where it runs."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only


def as_call(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """``(args, kwargs)`` of a tensor, a tuple or list of positional, or a dict of keyword arguments."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, (tuple, list)):
        return tuple(inputs), {}
    return (inputs,), {}


def tensors_of(inputs: Any) -> list[Tensor]:
    """The tensors among example inputs, in order."""
    return [leaf for leaf in tree_leaves(as_call(inputs)) if isinstance(leaf, Tensor)]


def batch_size(inputs: Any) -> int:
    """Length of the first input tensor's first axis; 1 where there is none.

    Raises:
        ValueError: an empty batch.
    """
    first = next((tensor for tensor in tensors_of(inputs) if tensor.ndim), None)
    size = 1 if first is None else first.shape[0]
    if size == 0:
        raise ValueError(f"example inputs of shape {tuple(first.shape)} hold no example; give at least one")  # type: ignore[union-attr]
    return size


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first parameter or buffer lies; the CPU for a model without any."""
    tensor: Tensor | None = next(itertools.chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def moved(inputs: Any, device: torch.device) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """``(args, kwargs)`` with every tensor on ``device``."""
    return tree_map_only(Tensor, lambda tensor: tensor.to(device), as_call(inputs))


@contextlib.contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Eval mode inside; every module's own mode is restored afterwards."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
