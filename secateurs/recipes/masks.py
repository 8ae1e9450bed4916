"""Masks of parameters: what keeps the weights of players that left at zero, whatever an optimizer adds to them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..partition import Players
from ..shapes import Mask


def zeros_of(players: Players, mask: Mask) -> dict[str, Tensor]:
    """Masks of the parameters that hold the players, by name: False where a masked player's weights are.

    By the gates and not by the weights that are zero: one that starts at zero takes part like any other.
    """
    gates = players.gates
    own = {id(p): name for name, p in players.model.named_parameters()}
    ones = [torch.ones_like(p) for p in gates.parameters]
    gates.scaled(ones, mask.to(ones[0]), out=ones)
    return {own[id(p)]: one != 0 for p, one in zip(gates.parameters, ones)}


def erase(model: nn.Module, masks: dict[str, Tensor]) -> None:
    """Set to zero, in place, what the masks leave out."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in masks:
                parameter.mul_(masks[name].to(parameter))
