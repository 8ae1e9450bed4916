"""Optimizer state follows its weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .copying import named_tensors
from .surgery import Surgery


def remap_optimizer(optimizer: Any, model: nn.Module, surgery: Surgery) -> None:
    """Cut every per-parameter state tensor as its parameter was cut, in place.

    Any ``torch.optim.Optimizer`` (or a wrapper with ``state``): each state tensor that has the parameter's
    shape before the cut (exp_avg, momentum_buffer, max_exp_avg_sq, …) is sliced; others are left.

    Args:
        model: after ``shrink(…, inplace=True)``, whose parameters the optimizer holds.
    """
    for name, tensor in named_tensors(model):
        if name not in surgery.kept or tensor not in optimizer.state:
            continue
        before = torch.Size(surgery.shapes[name])
        state = optimizer.state[tensor]
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == before:
                state[key] = surgery.cut(name, value)
