"""Participation lives in the optimizer step, not in the forward.

The model's parameters hold θ̃ = s·θ, so the forward is the user's own. Only gate slices have θ beside θ̃.
Around the wrapped optimizer's step:

1. slope  ∂L/∂s_g = ⟨∂L/∂θ̃_g, θ_g⟩, from the gradients that reached the parameters;
2. chain rule  ∂L/∂θ_g = s_g·∂L/∂θ̃_g, and the parameters hold θ while the optimizer steps;
3. gauge  (s, θ) → (s/c, cθ) leaves the network unchanged, so ‖θ_g‖ is projected back to at most where it
   started; and a layer before a normalised consumer has its largest s set to 1;
4. the dynamics move s, and θ̃ = s·θ is written back.

No weight decay acts on gate slices where participation has a price: it would be a second, unpriced cost.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..errors import RunError
from ..partition import Players
from ..shapes import Participation, PerPlayer
from .base import Dynamics, Gauge, Pulse, Select
from .effective import EffectiveWeights
from .membership import Membership

Updates = Literal["simultaneous", "alternating"]


@dataclass
class Felt:
    """What reached the players in a backward pass: ∂L/∂s, ‖∂L/∂θ̃‖ where it was asked for, and the gradients of θ."""

    slope: PerPlayer
    pull: PerPlayer | None
    grads: list[Tensor]


class Participating(Membership, Optimizer):
    """A torch optimizer whose steps also move participation. It *is* the wrapped optimizer to schedulers,
    gradient scalers and Accelerate: same ``param_groups``, ``state`` and ``defaults``.

    Args:
        optimizer: any torch optimizer over the players' model; one that takes a closure works too.
        players: who plays.
        dynamics: how they move.
        gauge: 'norm' projects ‖θ_g‖ to at most its initial value after every step; 'none' does not. Default: the
            dynamics' own.
        scale_free: per layer, whether its largest participation is reset to 1 every step.
        updates: 'simultaneous' moves s by the slope at the θ of the backward pass; 'alternating' moves θ
            first and takes the slope with the new θ (the same gradient, Gauss–Seidel fashion).
        select: who is kept at harvest, instead of whom the dynamics keep.
    """

    # A fused optimizer would be handed the scale instead of unscaled gradients; slopes need them unscaled.
    _step_supports_amp_scaling = False

    def __init__(
        self,
        optimizer: Optimizer,
        players: Players,
        dynamics: Dynamics,
        *,
        gauge: Gauge | None = None,
        scale_free: list[bool] | None = None,
        updates: Updates = "simultaneous",
        select: Select | None = None,
    ) -> None:
        # Optimizer.__init__ would register parameters a second time; everything it sets is delegated instead.
        self.inner = optimizer
        self._require_held(players)
        self.dynamics = dynamics
        self.gauge = gauge or dynamics.gauge
        self.updates = updates
        self.steps = 0
        self.seconds = 0.0
        self.active = True
        self.select = select or dynamics.keep
        self.surgery = None
        self.alive = torch.ones(players.count, dtype=torch.bool)
        self.players = players
        self.scale_free = scale_free or [False] * len(players.layers)
        self.weights = EffectiveWeights(players)
        if frozen := self.weights.frozen():
            warnings.warn(
                f"no gradient reaches {', '.join(frozen)} (requires_grad is False), so nothing tells what their "
                f"players are worth, and they may all go; players(…, ignore=[{frozen[0]!r}]) leaves it whole",
                stacklevel=3,
            )
        self.idle = torch.zeros(players.count, dtype=torch.long, device=players.device)
        self.state_of = dynamics.init(players)
        self.s: Participation = dynamics.begin(players, self.state_of)
        with torch.no_grad():
            self.radius = self.weights.norms()
            self.weights.write(self.s)

    def _require_held(self, players: Players) -> None:
        """Raises: RunError where the optimizer steps none of the players' parameters."""
        held = {id(p) for group in self.inner.param_groups for p in group["params"]}
        if not any(id(p) in held for p in players.gates.parameters):
            raise RunError(
                f"this {type(self.inner).__name__} holds none of the players' parameters, such as "
                f"{players.gates.names[0]!r}: make it over the model that was given to players(), "
                f"{type(players.model).__name__}"
            )

    # -- what torch expects of an optimizer --------------------------------------------------------------

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.inner.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self.inner.param_groups = groups

    @property
    def state(self):  # type: ignore[override]
        return self.inner.state

    @state.setter
    def state(self, value) -> None:
        self.inner.state = value

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        return self.inner.defaults

    def __getattr__(self, name: str) -> Any:
        # Reached only for what this class does not define: hooks and private fields of the wrapped optimizer.
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __repr__(self) -> str:
        return f"{type(self.dynamics).__name__}({self.players.count} players, {type(self.inner).__name__})"

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        self.inner.add_param_group(param_group)

    # -- the step ----------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the wrapped optimizer on θ, then one of the dynamics on s."""
        if not self.active:
            return self._step_harvested(closure)
        if closure is not None:
            return self._step_with(closure)
        began = time.perf_counter()
        with torch.no_grad():
            felt = self._felt()
            self.weights.swap()
        self.seconds += time.perf_counter() - began
        with self._decay():
            out = self.inner.step()
        began = time.perf_counter()
        with torch.no_grad():
            self._finish(felt)
        self.seconds += time.perf_counter() - began
        return out

    def _step_harvested(self, closure: Callable[[], Any] | None) -> Any:
        """After a harvest in place: the wrapped optimizer's own step. Groups have been cut out, but single weights that
        left are still there, and gradients, momentum and Adam would bring them back."""
        out = self.inner.step(closure) if closure is not None else self.inner.step()
        if self.players.granularity == "weight":
            with torch.no_grad():
                self.weights.hold(self.s)
        return out

    def _felt(self) -> Felt:
        """What the backward pass says; gradients of θ̃ become those of θ. Parameters hold θ̃."""
        weights, dynamics = self.weights, self.dynamics
        grads = weights.gradients()
        pull = weights.gates.sq_norm(grads).sqrt_() if dynamics.listens(self.steps) else None
        if dynamics.straight:
            slope = weights.gates.dot(grads, weights.raw, self.s).to(self.s.dtype)
        else:
            slope = weights.chain(grads, self.s)
        # an optimizer may write into the gradients it is given
        held = [g.clone() for g in grads] if self.updates == "alternating" else grads
        dynamics.penalise(self.players, self.state_of, weights.sums(self.s), grads)
        return Felt(slope, pull, held)

    def _decay(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.dynamics.decays else self.weights.without_decay(self.inner)

    def _step_with(self, closure: Callable[[], Any]) -> Any:
        """Optimizers that evaluate the loss themselves see θ; the closure must see θ̃ each time."""
        first: list[Felt] = []

        def effective() -> Any:
            with torch.no_grad():
                self.weights.swap()
                self.weights.write(self.s)
            with torch.enable_grad():
                loss = closure()
            with torch.no_grad():
                felt = self._felt()
                self.weights.swap()
                if not first:
                    felt.grads = [g.clone() for g in felt.grads]
                    first.append(felt)
            return loss

        self.weights.swap()
        with self._decay():
            out = self.inner.step(effective)
        with torch.no_grad():
            self._finish(first[0] if first else Felt(torch.zeros_like(self.s), None, self.weights.gradients()))
        return out

    def _moved(self, slope: PerPlayer, pull: PerPlayer | None) -> Participation:
        """Where the dynamics take s."""
        pulse = Pulse(self.steps, self.s, slope, self.weights.sums(self.s), self._rate(), pull)
        s = self.dynamics.step(self.players, self.state_of, pulse)
        if pulse.fresh is not None:
            self.weights.forget(self.inner, pulse.fresh)
        for layer, free in zip(self.players.layers, self.scale_free):
            if free:
                span = slice(layer.start, layer.stop)
                largest = s[span].max()
                s[span] = torch.where(largest > 0, s[span] / largest.clamp_min(1e-12), s[span])
        return s

    def _rate(self) -> float:
        """The learning rate of the group that holds the players' weights; 1 where the optimizer has none."""
        mine = self.weights.holds
        rates = (float(g["lr"]) for g in self.param_groups if "lr" in g and any(mine(p) for p in g["params"]))
        return next(rates, 1.0)

    def _finish(self, felt: Felt) -> None:
        """After the optimizer: gauge, the move of s, and θ̃ = s·θ."""
        weights, slope = self.weights, felt.slope
        weights.swap()
        alternating = self.updates == "alternating"
        if self.gauge == "norm" and not alternating and not self.dynamics.uses_sums:
            self.s = self._moved(slope, felt.pull)
            weights.settle(self.radius, self.s)
        else:
            if self.gauge == "norm":
                weights.project(self.radius)
            if alternating and self.dynamics.straight:
                slope = weights.gates.dot(felt.grads, weights.raw, self.s).to(slope)
            elif alternating:
                slope = weights.slope(felt.grads, self.s, slope)
            self.s = self._moved(slope, felt.pull)
            weights.write(self.s)
        self.idle = torch.where(self.s > 0, 0, self.idle + 1)
        self.steps += 1

    # -- saving ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """The wrapped optimizer's state, and the game's. Tensors, numbers and strings only."""
        return {
            "inner": self.inner.state_dict(),
            "s": self.s,
            "raw": list(self.weights.raw) if self.active else [],
            "radius": self.radius,
            "idle": self.idle,
            "alive": self.alive,
            "dynamics": dict(self.state_of),
            "steps": self.steps,
            "seconds": self.seconds,
            "active": self.active,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # type: ignore[override]
        """Continue where :meth:`state_dict` left off. A model that had been compacted by then is compacted
        first; call :meth:`compact_to` yourself where the model's own weights are loaded before this."""
        self.compact_to(state_dict["alive"])
        self.inner.load_state_dict(state_dict["inner"])
        with torch.no_grad():
            self.s = state_dict["s"].to(self.s)
            self.idle = state_dict["idle"].to(self.idle)
            self.radius = state_dict["radius"].to(self.radius)
            for mine, saved in zip(self.weights.raw, state_dict["raw"]):
                mine.copy_(saved)
            self.state_of = {
                k: v.to(self.s.device) if isinstance(v, Tensor) else v for k, v in state_dict["dynamics"].items()
            }
            self.steps, self.seconds = state_dict["steps"], state_dict["seconds"]
            self.active = state_dict["active"]
            if self.active:
                self.weights.write(self.s)
