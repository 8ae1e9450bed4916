"""Gradients and curvature over calibration batches, each computed when it is first asked for, and kept.

Everything is about the mean loss L over the batches, at the weights that the model holds now. With θ̃ = s·θ at s = 1,

    ∂L/∂s_g = ⟨∂L/∂θ_g, θ_g⟩          the slope: one number per player, of the loss or of a single example's
    ∂²L/∂s_g² = θ_gᵀ H_gg θ_g         the curvature

are all that most scores need, whatever a player is. The model, its buffers and torch's random state are left as
they were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..errors import RunError
from ..partition import Players
from ..shapes import PerPlayer
from ..training import Loss, cross_entropy
from .twice import TwiceDifferentiable

Batch: TypeAlias = tuple[Tensor, Tensor]

MEMORY = 1 << 30  # bytes that the gradients of single examples may take


class Signals:
    """What can be learnt of a model from some batches.

    Args:
        players: of the model.
        batches: (inputs, labels); none are needed by scores that look at the weights alone.
        loss: ``loss(model, x, y)`` → a batch's mean loss; default cross-entropy.
        generator: for what draws: random scores, curvature probes. None: torch's, seeded 0.
        training: run the model in training mode (BatchNorm by the batch), as before training its running statistics
            mean nothing; else in evaluation mode.
        probes: random directions that the curvature is estimated with; it is exact where the players are as few.
    """

    def __init__(
        self,
        players: Players,
        batches: Sequence[Batch] = (),
        *,
        loss: Loss | None = None,
        generator: torch.Generator | None = None,
        training: bool = False,
        probes: int = 16,
    ) -> None:
        self.players = players
        self.parameters = players.gates.parameters
        self._batches = batches
        self.loss: Loss = loss or cross_entropy()
        self.generator = generator or torch.Generator().manual_seed(0)
        self.training = training
        self.probes = probes

    def renewed(self, loss: Loss | None = None) -> Signals:
        """The same, nothing computed yet: for weights that have changed, or for another loss. Random draws go on."""
        return Signals(
            self.players,
            self._batches,
            loss=loss or self.loss,
            generator=self.generator,
            training=self.training,
            probes=self.probes,
        )

    @cached_property
    def batches(self) -> list[Batch]:
        """The batches, on the players' device.

        Raises:
            RunError: there are none, and a score needs some.
        """
        device = self.players.device
        out = [(x.to(device), y.to(device)) for x, y in self._batches]
        if not out:
            raise RunError("this score looks at data: give batches, Signals(players, [(x, y), …])")
        return out

    @property
    def theta(self) -> list[Tensor]:
        """The gated parameters, detached."""
        return [p.detach() for p in self.parameters]

    @cached_property
    def gradient(self) -> list[Tensor]:
        """∂L/∂θ of the gated parameters, parallel to ``players.gates.parameters``; the mean over batches."""
        return self._mean(lambda x, y: self._grad(self.loss(self.players.model, x, y)))

    @cached_property
    def slope(self) -> PerPlayer:
        """∂L/∂s_g, ``(players,)``."""
        return self.players.gates.dot(self.gradient, self.theta)

    def product(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """H·v over the gated parameters, by differentiating ⟨∂L/∂θ, v⟩."""

        def one(x: Tensor, y: Tensor) -> list[Tensor]:
            with TwiceDifferentiable():
                loss = self.loss(self.players.model, x, y)
            return self._along(self._grad(loss, graph=True), vectors)

        return self._mean(one)

    @cached_property
    def gradient_product(self) -> tuple[list[Tensor], list[Tensor]]:
        """(g, H·g), g the gradient and H the Hessian of the mean loss. Of a single batch both come from one forward
        pass; of several, g must be known of all before the first product."""
        if len(self.batches) > 1:
            return self.gradient, self.product(self.gradient)
        (x, y) = self.batches[0]
        with self.mode() as model:
            with TwiceDifferentiable():
                loss = self.loss(model, x, y)
            grads = self._grad(loss, graph=True)
            held = [g.detach() for g in grads]
            return held, self._along(grads, held)

    @cached_property
    def examples(self) -> int:
        """How many examples the batches hold."""
        return sum(len(y) for _, y in self.batches)

    def each_example(self) -> Iterator[list[Tensor]]:
        """∂L_n/∂θ of every single example n, one after another; in evaluation mode, since BatchNorm has no statistics
        of one example."""
        with self.mode(training=False) as model:
            for x, y in self.batches:
                for i in range(len(y)):
                    yield self._grad(self.loss(model, x[i : i + 1], y[i : i + 1]))

    @cached_property
    def example_slopes(self) -> Tensor:
        """∂L_n/∂s_g, ``(examples, players)``."""
        theta = self.theta
        return torch.stack([self.players.gates.dot(g, theta) for g in self.each_example()])

    @cached_property
    def example_gradients(self) -> Tensor:
        """∂L_n/∂θ laid end to end in the order of ``parameters``, ``(examples, elements)``; of the first examples only
        where those of all would take more than ``MEMORY`` bytes."""
        width = sum(p.numel() for p in self.parameters)
        most = max(1, MEMORY // (width * self.players.dtype.itemsize))
        out = torch.empty(min(self.examples, most), width, dtype=self.players.dtype, device=self.players.device)
        for row, grads in zip(out, islice(self.each_example(), most)):
            torch.cat([g.flatten() for g in grads], out=row)
        return out

    @cached_property
    def curvature(self) -> PerPlayer:
        """∂²L/∂s_g², ``(players,)``: Hutchinson's estimate E[ε_g·⟨θ_g, H(ε∘θ)⟩] over random signs ε, one Hessian-vector
        product each. Where the players are no more than the probes, one at a time and exact."""
        gates, theta = self.players.gates, self.theta
        count = self.players.count
        total = torch.zeros(count, dtype=self.players.dtype, device=self.players.device)
        exact = count <= self.probes
        for k in range(count if exact else self.probes):
            if exact:
                signs = torch.zeros_like(total)
                signs[k] = 1.0
            else:
                signs = torch.randint(2, (count,), generator=self.generator).to(total) * 2 - 1
            total += signs * gates.dot(self.product(gates.tangent(theta, signs)), theta)
        return total if exact else total / self.probes

    def visit(
        self, modules: Mapping[str, nn.Module], look: Callable[[str, Tensor], None], *, outputs: bool = False
    ) -> None:
        """Run the model over every batch, without gradients.

        Args:
            modules: those to watch, by name.
            look: called with a module's name and the first tensor it is given, at every call of it.
            outputs: the first that it returns instead.
        """

        def before(name: str) -> Callable[[nn.Module, tuple, dict], None]:
            return lambda _, args, kwargs: look(name, args[0] if args else next(iter(kwargs.values())))

        def after(name: str) -> Callable[[nn.Module, tuple, Any], None]:
            return lambda _, args, out: look(name, out if isinstance(out, Tensor) else out[0])

        with self.mode() as model, contextlib.ExitStack() as stack, torch.no_grad():
            for name, module in modules.items():
                if outputs:
                    stack.callback(module.register_forward_hook(after(name)).remove)
                else:
                    stack.callback(module.register_forward_pre_hook(before(name), with_kwargs=True).remove)
            for x, _ in self.batches:
                model(x)

    # -- running the model --------------------------------------------------------------------------------

    def _mean(self, one: Callable[[Tensor, Tensor], list[Tensor]]) -> list[Tensor]:
        """The mean over examples of what ``one`` says of each batch."""
        totals: list[Tensor] = []
        with self.mode():
            for x, y in self.batches:
                share, values = len(y) / self.examples, one(x, y)
                if not totals:  # a single batch is its own mean, and as large as the model
                    totals = values if share == 1 else [v * share for v in values]
                    continue
                for total, value in zip(totals, values):
                    total.add_(value, alpha=share)
        return totals

    def _grad(self, value: Tensor, graph: bool = False) -> list[Tensor]:
        grads = torch.autograd.grad(value, self.parameters, create_graph=graph, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(self.parameters, grads)]

    def _along(self, grads: Sequence[Tensor], vectors: Sequence[Tensor]) -> list[Tensor]:
        """∂⟨grads, vectors⟩/∂θ, where the gradients carry a graph."""
        inner = sum((g * v).sum() for g, v in zip(grads, vectors) if g.requires_grad)
        if not isinstance(inner, Tensor):  # a loss that is linear in them all
            return [torch.zeros_like(v) for v in vectors]
        return self._grad(inner)

    @contextlib.contextmanager
    def mode(self, training: bool | None = None) -> Iterator[nn.Module]:
        """The model in the asked mode (None: that of these signals), to be run; mode, buffers and random state are put
        back afterwards."""
        model = self.players.model
        modes = [(m, m.training) for m in model.modules()]
        gated = {id(p) for p in self.parameters}
        wanted = [(p, p.requires_grad) for p in model.parameters()]
        held = [(b, b.detach().clone()) for b in model.buffers()]
        devices = [self.players.device] if self.players.device.type == "cuda" else []
        model.train(self.training if training is None else training)
        for parameter, _ in wanted:  # second derivatives are not taken by others, even where nobody asks for them
            parameter.requires_grad_(id(parameter) in gated)
        try:
            with torch.random.fork_rng(devices=devices), torch.enable_grad():
                torch.manual_seed(0)
                yield model
        finally:
            for module, mode in modes:
                module.training = mode
            for parameter, before in wanted:
                parameter.requires_grad_(before)
            with torch.no_grad():
                for buffer, value in held:
                    buffer.copy_(value)
