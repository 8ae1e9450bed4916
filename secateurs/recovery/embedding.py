"""A reader's weight as it is now, seen in the shape that it had before the cut."""

from __future__ import annotations

import torch
from torch import Tensor

from .readers import Reader


def places(reader: Reader) -> tuple[Tensor, Tensor]:
    """Indices along the first two axes of the weight before that are still there."""
    weight, kept = reader.origin.weight, (reader.outputs, reader.inputs)
    outputs, inputs = (torch.arange(n, device=weight.device) if k is None else k for k, n in zip(kept, weight.shape))
    return outputs, inputs


def stays(reader: Reader) -> Tensor:
    """Which entries of the weight before are still there, of its shape; of outputs that are gone, none."""
    found = torch.zeros_like(reader.origin.weight, dtype=torch.bool)
    outputs, inputs = places(reader)
    found[outputs.unsqueeze(1), inputs] = True if reader.mask is None else reader.mask
    return found


def missing(reader: Reader) -> Tensor:
    """The weight before less what is there now, in the shape before; zero where outputs are gone. float64."""
    was = reader.origin.weight.double()
    found = torch.zeros_like(was)
    outputs, inputs = places(reader)
    found[outputs] = was[outputs]
    found[outputs.unsqueeze(1), inputs] -= reader.module.weight.double()
    return found
