"""What moves participation during training: the interface, and what it may look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..partition import Gates, Players
from ..records import Certificate
from ..shapes import Mask, Participation, PerPlayer

State: TypeAlias = dict[str, Any]
Select: TypeAlias = Callable[[Players, State, Participation], Mask]

EPSILON = 0.01  # below this a player counts as gone (game, §6.2)


def participants(players: Players, state: State, s: Participation) -> Mask:
    """Everyone with s ≥ ε = 0.01; each layer keeps a number that its limits allow, highest participation first."""
    keep = s >= EPSILON
    for unit in players.units:
        spans = [slice(players.layers[i].start, players.layers[i].stop) for i in unit.layers]
        count = unit.above(max(int(keep[span].sum()) for span in spans))
        for span in spans:
            order = torch.sort(s[span], descending=True, stable=True).indices
            keep[span] = False
            keep[span.start + order[:count]] = True
    return keep


@dataclass
class Arithmetic:
    """Sums over players' parameters θ, computed only when asked for."""

    gates: Gates
    theta: Sequence[Tensor]
    s: Participation

    def sq_norm(self) -> PerPlayer:
        """‖θ_g‖² of every player."""
        return self.gates.sq_norm(self.theta)

    def rivalry(self) -> PerPlayer:
        """Σ_{j≠g} s_j⟨θ_g, θ_j⟩ of every player, over its own layer."""
        return self.gates.competition(self.theta, self.s)


@dataclass
class Pulse:
    """One training step, as the players feel it.

    Attributes:
        step: optimizer steps done before this one.
        s: participation that the step was computed with.
        slope: ∂L/∂s_g = ⟨∂L/∂θ̃_g, θ_g⟩.
        sums: ‖θ_g‖² and Σ_{j≠g} s_j⟨θ_g,θ_j⟩ on demand.
    """

    step: int
    s: Participation
    slope: PerPlayer
    sums: Arithmetic


class Dynamics(ABC):
    """A rule for participation. State is explicit: a dict of tensors and numbers that can be saved."""

    uses_sums: bool = True  # whether a step looks at ‖θ‖² or rivalry; if not, the gauge can share a pass with the write

    @abstractmethod
    def init(self, players: Players) -> State:
        """State before the first step."""

    @abstractmethod
    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        """The next participation in [0, 1]; updates ``state``."""

    @abstractmethod
    def certify(
        self, players: Players, state: State, s: Participation, kept: Mask, sums: Arithmetic
    ) -> Certificate | None:
        """What can be said of the profile ``s`` as an equilibrium of the rule's game; None if it plays none."""

    def unfinished(self, steps: int) -> str | None:
        """Why a cut after this many steps is not yet what was asked for; None where it is."""
        return None

    def restrict(self, state: State, keep: Mask) -> State:
        """The state of the players that stay, after others have been cut out."""
        size = keep.numel()
        return {
            k: v[keep.to(v.device)] if isinstance(v, Tensor) and v.dim() == 1 and v.numel() == size else v
            for k, v in state.items()
        }
