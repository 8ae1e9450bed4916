"""What moves participation during training: the interface, and what it may look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from ..partition import Gates, Players, find_scale_free
from ..records import Certificate
from ..shapes import Mask, Participation, PerPlayer
from ..spec import derive_seed

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from .participation import Participating

State: TypeAlias = dict[str, Any]
Select: TypeAlias = Callable[[Players, State, Participation], Mask]
Gauge: TypeAlias = Literal["norm", "none"]

EPSILON = 0.01  # below this a player counts as gone (game, §6.2)


def participants(players: Players, state: State, s: Participation, epsilon: float = EPSILON) -> Mask:
    """Everyone with s ≥ ε; each layer keeps a number that its limits allow, highest participation first."""
    keep = s >= epsilon
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

    def scale(self, factor: PerPlayer) -> None:
        """θ_g ← factor_g·θ_g, in place."""
        self.gates.scaled(self.theta, factor, out=self.theta)


@dataclass
class Pulse:
    """One training step, as the players feel it. The optimizer has stepped θ already.

    Attributes:
        step: optimizer steps done before this one.
        s: participation that the step was computed with.
        slope: ∂L/∂s_g = ⟨∂L/∂θ̃_g, θ_g⟩.
        sums: ‖θ_g‖² and Σ_{j≠g} s_j⟨θ_g,θ_j⟩ on demand; θ itself, which may be changed.
        lr: the optimizer's learning rate at this step.
        pull: ‖∂L/∂θ̃_g‖, at steps at which the dynamics listen for it.
        fresh: set by the dynamics: players whose weights start anew, and the optimizer's memory of them too.
    """

    step: int
    s: Participation
    slope: PerPlayer
    sums: Arithmetic
    lr: float = 0.0
    pull: PerPlayer | None = None
    fresh: Mask | None = None


def draws(seed: int, *names: str | int) -> torch.Generator:
    """A generator on the host for one purpose at one step. What it yields depends on nothing that was drawn before, so
    a run that is resumed draws the same."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


class Dynamics(ABC):
    """A rule for participation. State is explicit: a dict of tensors and numbers that can be saved.

    Attributes:
        name, summary, source, cost, needs: what ``secateurs methods`` lists.
        continues: a run goes on training after the cut as before it, instead of starting a recovery.
        uses_sums: whether a step looks at ‖θ‖² or rivalry, or changes θ; if not, the gauge can share a pass with the
            write.
        gauge: 'norm' keeps ‖θ_g‖ to at most its initial value, as a rule needs whose s is real-valued: (s/c, cθ) is the
            same network.
        straight: θ is given ∂L/∂θ̃ as if it took part fully, instead of the chain rule's s·∂L/∂θ̃.
        decays: whether the optimizer's weight decay acts on gate slices.
        free_scales: before a normalised consumer a layer's largest participation is kept at 1: scaling it as a whole
            costs nothing, so a price would shrink it without end.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    cost: ClassVar[str] = "a few passes over gate slices each step"
    needs: ClassVar[str] = "training batches"

    continues: ClassVar[bool] = False

    uses_sums: bool = True
    gauge: Gauge = "none"
    straight: bool = False
    decays: bool = False
    free_scales: bool = False

    def wrap(self, optimizer: Optimizer, players: Players) -> Participating:
        """The same optimizer, whose steps also move participation by this rule.

        Args:
            optimizer: any torch optimizer over the players' model. players: from :func:`secateurs.players`.
        """
        from .participation import Participating

        free = find_scale_free(players) if self.free_scales else None
        return Participating(optimizer, players, self, scale_free=free)

    @abstractmethod
    def init(self, players: Players) -> State:
        """State before the first step."""

    @abstractmethod
    def step(self, players: Players, state: State, pulse: Pulse) -> Participation:
        """The next participation in [0, 1]; updates ``state``."""

    def begin(self, players: Players, state: State) -> Participation:
        """Participation before the first step; by default everyone takes part fully."""
        return torch.ones(players.count, dtype=players.dtype, device=players.device)

    def listens(self, step: int) -> bool:
        """Whether this step wants ``pulse.pull``."""
        return False

    def penalise(  # noqa: B027
        self, players: Players, state: State, sums: Arithmetic, grads: Sequence[Tensor]
    ) -> None:
        """Add a penalty's gradient to ∂L/∂θ, in place, before the optimizer steps; by default there is none."""

    def final(self, players: Players, state: State, s: Participation) -> Participation:
        """The participation that is harvested: ``s``, unless the last step's was a random draw, say."""
        return s

    def keep(self, players: Players, state: State, s: Participation) -> Mask:
        """Who stays at the harvest: by default whoever participates at all (s ≥ 0.01)."""
        return participants(players, state, s)

    def certify(
        self, players: Players, state: State, s: Participation, kept: Mask, sums: Arithmetic
    ) -> Certificate | None:
        """What can be said of the profile ``s`` as an equilibrium of the rule's game; None if it plays none."""
        return None

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
