"""What keeps the weights of players that left at zero, whatever an optimizer adds to them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def erase(model: nn.Module, masks: dict[str, Tensor]) -> None:
    """Set to zero, in place, what masks of parameters (:meth:`secateurs.partition.Players.entries`) leave out."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in masks:
                parameter.mul_(masks[name].to(parameter))
