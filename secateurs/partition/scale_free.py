"""Layers whose scale as a whole means nothing to the network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..structure.copying import call
from .players import Players


def find_scale_free(players: Players) -> list[bool]:
    """:func:`scale_free_layers`, by running the model on its example inputs. A model that cannot be run in training
    mode (BatchNorm over a single value, say) has none."""
    devices = [players.device] if players.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):

        def forward() -> Tensor:
            torch.manual_seed(0)
            leaves = torch.utils._pytree.tree_leaves(call(players.model, players.example_inputs))
            return next(leaf for leaf in leaves if isinstance(leaf, Tensor)).float()

        try:
            return scale_free_layers(players, forward)
        except (ValueError, RuntimeError):
            return [False] * len(players.layers)


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
