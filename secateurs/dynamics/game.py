"""The game at fixed prices, as printed: projected gradient ascent on every player's own utility.

s ← Proj_[0,1](s + η_s·∂U/∂s)                                                          (17), (18)
"""

from __future__ import annotations

import torch

from ..partition import Players
from ..records import Certificate
from ..shapes import Mask, Participation
from .base import Arithmetic, Dynamics, Pulse, State
from .certificate import certify_utility
from .utility import Utility


class FixedPrices(Dynamics):
    """Algorithm 1 of the paper.

    Args:
        utility: α, β, γ, η and the benefit's sign.
        rate: η_s (the paper: 0.001).
    """

    gauge = "norm"

    def __init__(self, utility: Utility, rate: float = 1e-3) -> None:
        self.utility = utility
        self.rate = rate

    def init(self, players: Players) -> State:
        zeros = torch.zeros(players.count, dtype=players.dtype, device=players.device)
        return {"benefit": zeros, "sq": zeros, "rivalry": zeros}

    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        u = self.utility
        state["benefit"] = u.benefits(pulse.slope, pulse.s)
        if u.beta:
            state["sq"] = pulse.sums.sq_norm()
        if u.eta:
            state["rivalry"] = pulse.sums.rivalry()
        ascent = u.gradient(pulse.s, state["benefit"], state["sq"], state["rivalry"])
        return torch.clamp(pulse.s + self.rate * ascent, 0.0, 1.0)

    def certify(self, players: Players, state: State, s: Participation, kept: Mask, sums: Arithmetic) -> Certificate:
        return certify_utility(players, self.utility, state["benefit"], s, kept, sums)
