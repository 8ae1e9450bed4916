"""Reconstruction: each reader's weights are solved for, so that it returns what it returned before the cut.

With x what the repaired network so far delivers to it (patches, for a convolution), y what it returned before and W, b
its weights as they are, the change is

    min over Δ, δ of Σ‖(y − Wx − b) − Δx − δ‖² + λ·Σ_j S_jj·‖Δ_j‖²,       S the scatter of x,

which is linear least squares from sums alone (:mod:`secateurs.maths.least_squares`). The penalty pulls towards the
weights that are there: Δ = 0 is a candidate, so the squared error on the data never rises.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from ..maths.least_squares import Moments, solve
from ..signals.patches import as_rows, rows_of
from .layerwise import Layerwise
from .readers import Pair, Reader, require_finite


class Reconstruct(Layerwise):
    """Weights and biases by least squares against the outputs before the cut, layer after layer (Luo et al. 2017,
    ThiNet; He et al. 2017; sequential and with the mask held as in Frantar & Alistarh 2022).

    Grouped convolutions are solved group by group; of a mask every row has equations of its own.

    Args:
        ridge: λ, relative to the variance of each input; more where examples are few. It is what is left of the old
            weights along directions that the data hardly show.
        rows: positions that are looked at in all of the data, drawn with ``seed``; of feature maps there may be
            millions, and neighbours say the same.
    """

    name: ClassVar[str] = "reconstruct"
    summary: ClassVar[str] = "the weights of every layer by least squares of what it returned before the cut"
    source: ClassVar[str] = "Luo et al. 2017"
    cost: ClassVar[str] = "half a pass of both networks for every layer, and its normal equations"

    def __init__(self, ridge: float = 1e-3, rows: int = 200_000, seed: int = 0) -> None:
        self.ridge, self.rows, self.seed = ridge, rows, seed

    def mend(self, pair: Pair, reader: Reader) -> None:
        moments = self._moments(pair, reader)
        require_finite(reader, moments.finite)
        if moments.count:
            reader.change(*solve(moments, self.ridge, intercept=reader.biased, keep=reader.keep))

    def _moments(self, pair: Pair, reader: Reader) -> Moments:
        """Of what is given and what is missing."""
        groups, outputs, inputs = as_rows(reader.module, reader.module.weight).shape
        moments = Moments(groups, inputs, outputs, reader.module.weight.device)
        generator = torch.Generator().manual_seed(self.seed)
        share = pair.share(reader, self.rows)
        for call in pair.calls(reader):
            for x, y in rows_of(call.module, call.x, call.before - call.y, share, generator):
                moments.add(x, y)
        return moments
