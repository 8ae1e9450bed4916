"""One factor for every reader: what is left speaks louder."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..signals.patches import channel_axis
from .layerwise import Layerwise
from .readers import Pair, Reader, require_finite


class Scale(Layerwise):
    """v̂ = A·v (Acharyya et al. 2021, Theorem 5, where A is the best factor of the second layer), for every reader: with
    ŷ = z + b what it returns now and y what it returned before, A = Σ⟨y − b, z⟩ / Σ‖z‖² minimises Σ‖y − b − A·z‖².

    Biases stay. A reader that returns nothing but its bias keeps its weights. Before a BatchNorm a factor is undone as
    soon as the statistics are estimated anew.
    """

    name: ClassVar[str] = "scale"
    summary: ClassVar[str] = "the weights of every layer times one factor, the best in squared error"
    source: ClassVar[str] = "Acharyya et al. 2021"
    cost: ClassVar[str] = "half a pass of both networks for every layer"

    def mend(self, pair: Pair, reader: Reader) -> None:
        weight = reader.module.weight
        along, energy = torch.zeros(2, dtype=torch.float64, device=weight.device)
        for call in pair.calls(reader):
            z, y = _without_bias(call.module, call.y), _without_bias(call.module, call.before)
            along, energy = along + (y * z).sum(), energy + z.square().sum()
        require_finite(reader, bool((along + energy).isfinite()))
        if energy > 0:
            reader.change((along / energy - 1) * weight.double())


def _without_bias(module, out: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    out = out.double()
    if module.bias is None:
        return out
    return out - module.bias.double().reshape(-1, *[1] * (-1 - channel_axis(module)))
