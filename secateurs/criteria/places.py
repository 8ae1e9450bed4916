"""Which inputs and scales of a model's tensors a player is, read off the structure.

A channel is *scaled* by a BatchNorm's γ, and *read* as an input of the next modules; what *produces* it is in
``secateurs.partition.producers``. The structure says of every axis of every tensor which atoms its indices are; here
these become players.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ..errors import StructureError
from ..partition import Players
from ..shapes import PerPlayer
from ..structure.naming import CONVOLUTIONS, TRANSPOSED, role


def owners(players: Players, atoms: Tensor) -> Tensor:
    """The player of each atom, −1 where it is nobody's."""
    player_of = torch.full((players.structure.atoms + 1,), -1)
    player_of[players.atoms.cpu()] = torch.arange(players.count)
    return player_of[atoms]


def scales(players: Players) -> Iterator[tuple[Tensor, Tensor]]:
    """For every BatchNorm over players: the player of each γ, and γ."""
    for name, _, found in _owned(players):
        path, _, leaf = name.rpartition(".")
        module = players.model.get_submodule(path)
        if leaf == "weight" and isinstance(module, nn.modules.batchnorm._BatchNorm):
            yield found, module.weight.detach()


def consumers(players: Players) -> dict[str, tuple[nn.Module, Tensor, int]]:
    """Modules that read what players carry, by name: the module, the player of each of its inputs, and the dimension
    of its input tensor that these lie along."""
    return _linear(players, "in")


def makers(players: Players) -> dict[str, tuple[nn.Module, Tensor, int]]:
    """Modules whose outputs players are, before any nonlinearity, by name: the module, the player of each of its
    outputs, and the dimension of its output tensor that these lie along."""
    return _linear(players, "out")


def _linear(players: Players, side: str) -> dict[str, tuple[nn.Module, Tensor, int]]:
    out: dict[str, tuple[nn.Module, Tensor, int]] = {}
    for name, axis, found in _owned(players):
        path, _, leaf = name.rpartition(".")
        module = players.model.get_submodule(path)
        if leaf != "weight" or not isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)):
            continue
        if isinstance(module, nn.Linear):
            width = module.in_features if side == "in" else module.out_features
        else:
            width = module.in_channels if side == "in" else module.out_channels
        if role(module, leaf, axis, module.weight.dim()) != side:
            continue
        if isinstance(module, CONVOLUTIONS) and side == "in":
            found = found.repeat(module.groups)  # channels at the same place of every group are one player
        if len(found) == width:
            out[path] = (module, found, -1 if isinstance(module, nn.Linear) else 1)
    return out


def summed(players: Players, parts: Iterable[tuple[Tensor, Tensor]]) -> PerPlayer:
    """Σ over (owners, values) of the values of every player, ``(players,)``."""
    sums = torch.zeros(players.count + 1, dtype=players.dtype)
    for found, values in parts:
        sums.index_add_(0, torch.where(found < 0, players.count, found), values.cpu().to(sums.dtype))
    return sums[: players.count].to(players.device)


def mean(players: Players, parts: Iterable[tuple[Tensor, Tensor]]) -> PerPlayer:
    """The mean over (owners, values) of the values of every player, ``(players,)``; NaN where it has none."""
    held = [(found, values) for found, values in parts]
    return summed(players, held) / summed(players, [(found, torch.ones(len(found))) for found, _ in held])


def require_every_layer(players: Players, parts: Iterable[Tensor], score: str, lacking: str) -> None:
    """Check that every player is among the owners.

    Args:
        parts: owners. lacking: what a layer without them does not have.
    Raises:
        StructureError: names the layers.
    """
    there = torch.zeros(players.count + 1, dtype=torch.bool)
    for found in parts:
        there[found] = True  # −1 is the last entry, which is nobody's
    bad = [layer.name for layer in players.layers if not bool(there[layer.start : layer.stop].all())]
    if bad:
        raise StructureError(
            f"score {score!r}: {', '.join(bad)} {lacking}; leave them whole (ignore), or take another score"
        )


def _owned(players: Players) -> Iterator[tuple[str, int, Tensor]]:
    """Axes with a player on them: tensor, axis, the player of each index."""
    for (name, axis), ids in players.structure.axes.items():
        found = owners(players, torch.from_numpy(ids))
        if bool((found >= 0).any()):
            yield name, axis, found
