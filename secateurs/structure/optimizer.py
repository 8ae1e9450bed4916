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
    shape before the cut (exp_avg, momentum_buffer, max_exp_avg_sq, …) is sliced; others are left. Parameters of
    blocks that went leave the optimizer with their state.

    Args:
        model: after ``shrink(…, inplace=True)``, whose parameters the optimizer holds.
    """
    held = {id(tensor) for _, tensor in named_tensors(model)}
    for group in optimizer.param_groups:
        # The surgery left them empty; parameters of other models are none of its business.
        lost = {id(p): p for p in group["params"] if id(p) not in held and not p.numel()}
        group["params"][:] = [p for p in group["params"] if id(p) not in lost]
        for parameter in lost.values():
            optimizer.state.pop(parameter, None)
    for name, tensor in named_tensors(model):
        if name not in surgery.kept or tensor not in optimizer.state:
            continue
        before = torch.Size(surgery.shapes[name])
        state = optimizer.state[tensor]
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == before:
                state[key] = surgery.cut(name, value)
