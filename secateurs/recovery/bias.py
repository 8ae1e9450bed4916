"""Bias correction: a constant error is the one that costs nothing to remove."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..signals.patches import channel_axis
from .layerwise import Layerwise
from .readers import Pair, Reader, require_finite


class BiasCorrection(Layerwise):
    """b ← b + E[y − ŷ], with y what a reader returned before and ŷ what it returns now, mended networks upstream: the
    means over the data are then those of the network before (as Nagel et al. 2019, §4.2, do after quantization).

    Readers without a bias are left. Of the shifts by a constant it is the best in squared error.
    """

    name: ClassVar[str] = "bias"
    summary: ClassVar[str] = "the mean of every layer's output is what it was"
    source: ClassVar[str] = "Nagel et al. 2019"
    cost: ClassVar[str] = "half a pass of both networks for every layer"

    def mend(self, pair: Pair, reader: Reader) -> None:
        if not reader.biased:
            return
        weight = reader.module.weight
        total, count = torch.zeros(len(weight), dtype=torch.float64, device=weight.device), 0
        for call in pair.calls(reader):
            error = (call.before.double() - call.y.double()).movedim(channel_axis(call.module), -1)
            error = error.reshape(-1, len(weight))
            total, count = total + error.sum(0), count + len(error)
        require_finite(reader, bool(total.isfinite().all()))
        reader.change(torch.zeros_like(weight), total / max(count, 1))
