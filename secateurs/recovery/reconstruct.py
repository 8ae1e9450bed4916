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
from .layerwise import Layerwise
from .patches import as_rows, rows_of
from .readers import Pair, Reader, require_finite


class Reconstruct(Layerwise):
    """Weights and biases by least squares against the outputs before the cut, layer after layer (Luo et al. 2017,
    ThiNet; He et al. 2017; sequential and with the mask held as in Frantar & Alistarh 2022).

    Grouped convolutions are solved group by group; of a mask every row has equations of its own. Readers that are
    called several times feed themselves: there the error is measured afterwards, and if it rose they stay as they were.

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
        moments, before = self._moments(pair, reader)
        require_finite(reader, moments.finite)
        if not moments.count:
            return
        delta, shift = solve(moments, self.ridge, intercept=reader.biased, keep=reader.keep)
        held = [(t, t.clone()) for t in reader.module.parameters(recurse=False)]
        reader.change(delta, shift)
        if reader.calls > 1 and not _error(pair, reader) <= before:
            for tensor, value in held:
                tensor.copy_(value)

    def _moments(self, pair: Pair, reader: Reader) -> tuple[Moments, float]:
        """Of what is given and what is missing, and the sum of squares of the latter over all positions."""
        groups, outputs, inputs = as_rows(reader.module, reader.module.weight).shape
        moments = Moments(groups, inputs, outputs, reader.module.weight.device)
        generator = torch.Generator().manual_seed(self.seed)
        share, total = pair.share(reader, self.rows), 0.0
        for call in pair.calls(reader):
            missing = call.before - call.y
            total += float(missing.double().square().sum())
            for x, y in rows_of(call.module, call.x, missing, share, generator):
                moments.add(x, y)
        return moments, total


def _error(pair: Pair, reader: Reader) -> float:
    return sum(float((call.before - call.y).double().square().sum()) for call in pair.calls(reader))
