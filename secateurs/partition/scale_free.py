"""Layers whose scale as a whole means nothing to the network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .players import Players


def scale_free_layers(players: Players, forward: Callable[[], Tensor], tolerance: float = 1e-2) -> list[bool]:
    """Which layers can be scaled as a whole without changing the network: those before a normalised consumer.

    Measured rather than inferred: the layer's gates are multiplied by ½ (and 2) and ``forward`` is called again, in
    training mode, where normalisation uses the batch's own statistics. Parameters and buffers are restored.

    Args:
        forward: evaluates the model on a fixed batch with a fixed random state.
        tolerance: relative change below which the output counts as unchanged.
    """
    model, gates = players.model, players.gates
    training = model.training
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    saved = [p.detach().clone() for p in gates.parameters]
    free = []
    try:
        with torch.no_grad():
            model.train()
            before = forward()
            for layer in players.layers:
                s = torch.ones(players.count, device=players.device)
                s[layer.start : layer.stop] = 0.5
                gates.scaled(saved, s, [p.data for p in gates.parameters])
                change = (forward() - before).norm() / before.norm().clamp_min(1e-12)
                free.append(bool(change < tolerance))
                torch._foreach_copy_([p.data for p in gates.parameters], saved)
    finally:
        torch._foreach_copy_([p.data for p in gates.parameters], saved)
        named = dict(model.named_buffers())
        for name, value in buffers.items():
            named[name].copy_(value)
        model.train(training)
    return free
