"""The weights that make what a player carries: a filter's or a neuron's incoming weights.

What silences a group may lie elsewhere (BatchNorm's γ and β), and that is what gates hold. Scores and rules that look
at filters, or set them to zero and let them grow again, need the filters themselves.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..structure.naming import role
from .gate import Gate
from .gates import Gates
from .players import Players

PRODUCING = ("out", "width", "0")  # roles of an axis along which a weight makes channels; "0": of a bare parameter


def producers(players: Players) -> Gates:
    """Reductions over the rows of weights of two or more dimensions that produce the players; the players' own gates
    where nothing produces them (single weights, blocks)."""
    if players.granularity == "weight":
        return players.gates
    named = dict(players.model.named_parameters(remove_duplicate=False))
    player_of = np.full(players.structure.atoms + 1, -1)
    player_of[players.atoms.cpu().numpy()] = np.arange(players.count)
    found = [
        Gate(name, axis, torch.from_numpy(player_of[ids]))
        for (name, axis), ids in players.structure.axes.items()
        if name in named and _makes(players.model, name, axis, named[name].dim()) and (player_of[ids] >= 0).any()
    ]
    return Gates(found, named, players.count) if found else players.gates


def _makes(model: nn.Module, name: str, axis: int, rank: int) -> bool:
    path, _, leaf = name.rpartition(".")
    return rank > 1 and role(model.get_submodule(path), leaf, axis, rank) in PRODUCING
