"""Filter pruning via geometric median: the most replaceable filter goes, not the smallest."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..partition import Players, producers
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score


class GeometricMedian(Score):
    """Σ_j ‖w_g − w_j‖₂ over the filters j of the same layer (He et al. 2019, FPGM). The filter with the smallest sum is
    the one nearest the layer's geometric median: the others can stand in for it.

    A filter is what produces a channel; where tied weights produce it together, their rows lie end to end.
    """

    name: ClassVar[str] = "geometric-median"
    summary: ClassVar[str] = "the smallest distance to the other filters of the layer"
    source: ClassVar[str] = "He et al. 2019 (FPGM)"
    granularities: ClassVar[tuple[str, ...]] = ("channel",)

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        made = producers(players)
        found = list(made.stacked([p.detach().cpu() for p in made.parameters]))
        out = torch.zeros(players.count, dtype=players.dtype)
        for layer in players.layers:
            squares = torch.zeros(layer.size, layer.size, dtype=torch.float64)
            for owner, rows in found:
                mine = (owner >= layer.start) & (owner < layer.stop)
                filters, who = rows[mine].double(), owner[mine] - layer.start
                exact = "donot_use_mm_for_euclid_dist"  # the quick way cancels where filters are alike
                squares[who[:, None], who] += torch.cdist(filters, filters, compute_mode=exact).square()
            out[layer.start : layer.stop] = squares.sqrt().sum(1).to(out.dtype)
        return out.to(players.device)
