"""Fused recurrent layers: not cut yet, but their multiply-accumulates are counted."""

from __future__ import annotations

import math

import torch

from ..labels import Label
from .call import Call, register


@register("mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn")
def recurrent(call: Call) -> list[Label | None]:
    """Each time step multiplies by every weight matrix once per sequence."""
    weights = [v for k, v in call.arguments.items() if k.startswith("weight") and isinstance(v, torch.Tensor)]
    for value in call.arguments.values():
        if isinstance(value, (list, tuple)):
            weights += [v for v in value if isinstance(v, torch.Tensor)]
    for label in (*call.tensors, *(call.label_of(w) for w in weights)):
        call.freeze_label(label, "a recurrent layer's sizes")
    given = call.label("input")
    assert given is not None
    matrices = sum(w.numel() for w in weights if w.dim() == 2)
    call.product(math.prod(given.shape[:-1]) * matrices, ())
    return [None] * len(call.out)
