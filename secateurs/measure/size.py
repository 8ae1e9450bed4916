"""Sizes in memory. A tensor that is shared (tied weights) is counted once."""

from __future__ import annotations

from torch import nn


def count_params(model: nn.Module) -> int:
    """Numbers held in parameters; a parameter under several names counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_bytes(model: nn.Module) -> int:
    """Bytes of parameters and buffers (persistent or not), each once, at their own dtypes."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
