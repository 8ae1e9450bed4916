"""θ beside θ̃: the only state that participation adds to a model.

The model's parameters hold the effective weights θ̃ = s·θ. For gate slices θ itself lies here. The two exchange places
while an optimizer steps, so that it steps θ, and the forward always sees the same storage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..partition import Players
from ..shapes import Mask, Participation, PerPlayer
from .base import Arithmetic


class EffectiveWeights:
    """The gated parameters of some players, in both forms.

    Attributes:
        gates: the reductions. raw: θ (θ̃ while swapped), parallel to ``gates.parameters``.
    """

    def __init__(self, players: Players) -> None:
        self.players = players
        self.gates = players.gates
        self.raw: list[Tensor] = [p.detach().clone() for p in self.gates.parameters]
        self._gated = {id(p) for p in self.gates.parameters}

    def holds(self, parameter: Tensor) -> bool:
        """Whether it is one of the gated parameters."""
        return id(parameter) in self._gated

    def frozen(self) -> list[str]:
        """Layers whose players hold no parameter that is trained."""
        trained = self.gates.sq_norm([torch.full_like(p, float(p.requires_grad)) for p in self.gates.parameters]) > 0
        return [layer.name for layer in self.players.layers if not bool(trained[layer.start : layer.stop].any())]

    def gradients(self) -> list[Tensor]:
        """Gradients of the gated parameters; zeros where none arrived."""
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.gates.parameters]

    def chain(self, grads: list[Tensor], s: Participation) -> PerPlayer:
        """∂L/∂s_g = ⟨∂L/∂θ̃_g, θ_g⟩, and then the chain rule ∂L/∂θ_g = s_g·∂L/∂θ̃_g on ``grads``, in place."""
        return self.gates.chain(grads, self.raw, s).to(s.dtype)

    def slope(self, scaled: list[Tensor], s: Participation, otherwise: PerPlayer) -> PerPlayer:
        """∂L/∂s_g at the θ held now, from gradients that :meth:`chain` has already multiplied by s; where s = 0 that
        cannot be undone and ``otherwise`` stands."""
        return torch.where(s > 0, self.gates.dot(scaled, self.raw) / s.clamp_min(1e-12), otherwise)

    def swap(self) -> None:
        """Exchange storage: parameters hold θ where they held θ̃, or back. Nothing is copied."""
        for i, parameter in enumerate(self.gates.parameters):
            held = parameter.data
            parameter.data = self.raw[i]
            self.raw[i] = held

    def write(self, s: Participation) -> None:
        """θ̃ = s·θ into the model."""
        self.gates.scaled(self.raw, s, out=[p.data for p in self.gates.parameters])

    def hold(self, mask: Participation) -> None:
        """Zero, in the model, for whom ``mask`` is zero."""
        held = [p.data for p in self.gates.parameters]
        self.gates.scaled(held, mask, out=held)

    def forget(self, optimizer: Optimizer, fresh: Mask) -> None:
        """What an optimizer keeps beside a weight (momentum, second moments) starts at zero again for some players."""
        held = self.gates.parameters
        kept = [
            {k: v for k, v in optimizer.state.get(p, {}).items() if isinstance(v, Tensor) and v.shape == p.shape}
            for p in held
        ]
        for name in dict.fromkeys(k for state in kept for k in state):
            moments = [state[name] if name in state else torch.zeros_like(p) for state, p in zip(kept, held)]
            self.gates.scaled(moments, (~fresh).to(self.players.dtype), out=moments)

    def project(self, radius: PerPlayer) -> None:
        """‖θ_g‖ ≤ radius_g."""
        norm = self.gates.sq_norm(self.raw).sqrt_()
        shrinkage = (radius / norm.clamp_min_(1e-30)).clamp_max_(1.0)
        self.gates.scaled(self.raw, shrinkage, out=self.raw)

    def settle(self, radius: PerPlayer, s: Participation) -> None:
        """:meth:`project` and :meth:`write` in one walk over the weights."""
        self.gates.settle(self.raw, radius, s, [p.data for p in self.gates.parameters])

    def sums(self, s: Participation) -> Arithmetic:
        """The arithmetic that dynamics may ask for."""
        return Arithmetic(self.gates, self.raw, s)

    def norms(self) -> PerPlayer:
        """The radius each player may not leave. A slice that starts at zero (a zero-initialised γ, say) gets its
        layer's largest, or 1: otherwise it could never begin to take part."""
        norm = self.gates.sq_norm(self.raw).sqrt_()
        for layer in self.players.layers:
            span = slice(layer.start, layer.stop)
            largest = norm[span].max()
            fallback = torch.where(largest > 0, largest, torch.ones_like(largest))
            norm[span] = torch.where(norm[span] > 1e-6 * fallback, norm[span], fallback)
        return norm

    @contextlib.contextmanager
    def without_decay(self, optimizer: Optimizer) -> Iterator[None]:
        """Within the block, gated parameters stand in the optimizer's groups of their own, without weight decay."""
        groups = optimizer.param_groups
        if not any(g.get("weight_decay") for g in groups):
            yield
            return
        split, copies = [], []
        for group in groups:
            gated = [p for p in group["params"] if id(p) in self._gated]
            if not gated or not group.get("weight_decay"):
                split.append(group)
                continue
            split.append({**group, "params": gated, "weight_decay": 0.0})
            split.append({**group, "params": [p for p in group["params"] if id(p) not in self._gated]})
            copies.append((group, split[-1]))
        optimizer.param_groups = split
        try:
            yield
        finally:
            optimizer.param_groups = groups
            for group, copy_ in copies:  # some optimizers count their steps in the group
                group.update({k: v for k, v in copy_.items() if k != "params"})
