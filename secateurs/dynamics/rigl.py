"""RigL: the smallest connections are dropped, those with the largest gradients grown (Evci et al. 2020).

    f(t) = α/2·(1 + cos(π·t/T)),  t steps of the horizon T;    growth by ‖∂L/∂θ̃_g‖

Dense gradients are looked at when connections change, and only then.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from ..partition import Players
from ..shapes import PerPlayer
from .base import Pulse
from .rewiring import Rewiring


class RigL(Rewiring):
    """Drop the smallest, grow where the gradient is largest."""

    name: ClassVar[str] = "rigl"
    summary: ClassVar[str] = "sparse from the first step: the smallest connections are dropped, those most missed grown"
    source: ClassVar[str] = "Evci et al. 2020"

    def fraction(self, step: int) -> float:
        return self.settings.fraction / 2 * (1 + math.cos(math.pi * self.settings.progress(step)))

    def listens(self, step: int) -> bool:
        return self.updates(step)

    def growth(self, players: Players, pulse: Pulse, draw: PerPlayer) -> PerPlayer:
        """The gradient's norm. Where none reaches anybody outside (whole channels behind a rectifier: they are silent,
        and its slope at zero is zero), the draw decides."""
        assert pulse.pull is not None
        outside = pulse.pull.masked_fill(pulse.s > 0, 0.0)
        heard = torch.zeros(len(players.layers), dtype=outside.dtype, device=outside.device)
        heard.scatter_reduce_(0, players.layer_of, outside, "amax")
        return torch.where(heard[players.layer_of] > 0, pulse.pull.double(), draw)
