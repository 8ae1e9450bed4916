"""Optimal brain surgeon after any cut: in the loss's quadratic model, the best answer to what was taken.

Least squares of a layer's outputs asks what the layer returned; here what counts is how the *loss* takes it. With the
empirical Fisher of a layer's weights at the network before, H = λI + GGᵀ/N over single examples,

    δ_K = H_KK⁻¹H_KQ·w_Q

is the change of the weights that stay that minimises ½·δᵀHδ, given that those that go change by −w_Q.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..maths.fisher import compensation, shift
from ..training import Loss, cross_entropy
from ..zoo.splits import Batch
from .base import Recovery, Removal
from .embedding import missing, places, stays
from .readers import Pair, Reader, paired, require_finite, within

MEMORY = 1 << 30  # bytes that the gradients of single examples may take


class OBSCompensation(Recovery):
    """Hassibi & Stork 1993's compensation, one reader at a time, the rest of the network as before. Q is what a reader
    lost of the outputs that it still has: inputs, or single weights. An output that is gone is its own readers' matter.

    The weights that stay become w_K + δ_K with w the network's before, whatever was made of them since.

    Args:
        damping: λ as a share of the mean diagonal of GGᵀ/N.
        examples: how many are looked at, from the first.
        loss: ``loss(model, x, y)``; default cross-entropy.
    """

    name: ClassVar[str] = "obs"
    summary: ClassVar[str] = "kept weights of a layer compensate the loss for the lost ones, by its curvature"
    source: ClassVar[str] = "Hassibi & Stork 1993"
    cost: ClassVar[str] = "a backward pass for every example, and their gradients kept"

    def __init__(self, damping: float = 1.0, examples: int = 256, loss: Loss | None = None) -> None:
        self.damping, self.examples, self.loss = damping, examples, loss or cross_entropy()

    def __call__(self, model: nn.Module, removal: Removal, data: Iterable[Batch]) -> nn.Module:
        with paired(model, removal, data) as pair:
            count = min(self.examples, pair.examples)
            size = lambda reader: count * reader.origin.weight.nbytes  # noqa: E731
            for some in within(MEMORY, (reader for reader in pair.readers if reader.lost), size):
                for reader, grads in zip(some, self._gradients(pair, some, count)):
                    require_finite(reader, bool(grads.sum().isfinite()))
                    self._compensate(reader, grads)
        return pair.repaired

    def _compensate(self, reader: Reader, grads: Tensor) -> None:
        was, there, gone = reader.origin.weight, stays(reader), torch.ones_like(stays(reader))
        outputs, inputs = places(reader)
        gone[outputs] = False  # with an output that is gone
        change = compensation(
            grads, was.masked_fill(gone, 0).flatten().to(grads), there.flatten().to(grads), shift(grads, self.damping)
        )
        total = (change.view_as(was).double() + missing(reader))[outputs.unsqueeze(1), inputs]
        reader.change(total)

    def _gradients(self, pair: Pair, readers: list[Reader], count: int) -> list[Tensor]:
        """∂L_n/∂w of the network before, ``(examples, elements)`` for each reader."""
        weights = [reader.origin.weight for reader in readers]
        out = [w.new_empty(count, w.numel()) for w in weights]
        with _differentiable(pair.before, weights):
            for n, (x, y) in enumerate(_single(pair, count)):
                found = torch.autograd.grad(self.loss(pair.before, x, y), weights, materialize_grads=True)
                for rows, grad in zip(out, found):
                    rows[n] = grad.flatten()
        return out


def _single(pair: Pair, count: int) -> Iterator[Batch]:
    device = next(pair.before.parameters()).device
    for x, y in pair.data:
        for i in range(min(len(x), count)):
            yield x[i : i + 1].to(device), y[i : i + 1].to(device)
        count -= len(x)
        if count <= 0:
            return


@contextmanager
def _differentiable(model: nn.Module, weights: list[Tensor]) -> Iterator[None]:
    """Gradients of these weights alone; torch's random state and who wants gradients are put back."""
    wanted = [(p, p.requires_grad) for p in model.parameters()]
    device = weights[0].device
    for parameter, _ in wanted:
        parameter.requires_grad_(any(parameter is w for w in weights))
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            yield
    finally:
        for parameter, before in wanted:
            parameter.requires_grad_(before)
