"""Cutting a trained student: which units or weights stay, and the loss without them.

The authors' code rescales each row of w to norm √N before a cut and leaves v alone, so that Q_ii = 1; before February
2020 it did not. A mask of units is (count, K), one of weights (count, K, N), true for what stays. Losses are half the
mean squared error on fresh examples, labels with their noise; none of the cuts is repaired.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from ...maths.determinantal import Determinantal
from ..parameter_counts import edges

Name = TypeVar("Name", bound=Hashable)
_CHUNK = 4000  # examples at a time
_COLUMNS = 4096  # local fields of one product: masks of weights are taken so many at a time that it holds them


def rescaled(w: Tensor) -> Tensor:
    """Rows of norm √N, (…, K, N)."""
    return w * (math.sqrt(w.shape[-1]) / w.norm(dim=-1, keepdim=True))


def edges_for(nodes: int, inputs: int, units: int) -> int:
    """k_e, rounded: weights left in each unit so that all parameters are as many as with so many whole units left.

    Half goes up, as the paper's 249.5 → 250 and 416.5 → 417 do.
    """
    return math.floor(edges(nodes, inputs, units) + 0.5)


def random_nodes(units: int, k: int, count: int, generator: torch.Generator) -> Tensor:
    """k units, uniformly."""
    order = torch.rand(count, units, generator=generator).argsort(-1).argsort(-1)
    return order < k


def important_nodes(v: Tensor, k: int, *, signed: bool = True) -> Tensor:
    """The k units of largest v, (1, K): with its sign, as the authors' code has it, or of largest \\|v\\|."""
    order = (v if signed else v.abs()).argsort(dim=0, descending=True, stable=True)
    return torch.zeros(1, len(v), dtype=torch.bool).index_fill_(1, order[:k], True)


def diverse_nodes(kernel: Tensor, k: int, count: int, generator: torch.Generator) -> Tensor:
    """k units by a k-DPP, P(Y) ∝ det L_Y.

    Args:
        kernel: L, (K, K). The paper's is HᵀH/n of the pre-activations H; its expectation is Q (Lemma 1). Above its
            rank, which a noiseless student's is near, the rest is drawn evenly.
    """
    return Determinantal(kernel.expand(count, *kernel.shape)).mask(generator, k, fill=True)


def random_edges(shape: tuple[int, int], c: float, count: int, generator: torch.Generator) -> Tensor:
    """Every weight with probability c, by itself."""
    return torch.rand(count, *shape, generator=generator) < c


def important_edges(w: Tensor, k: int) -> Tensor:
    """The k weights of largest \\|w\\| of every unit, (1, K, N)."""
    order = w.abs().argsort(dim=-1, descending=True, stable=True)
    return torch.zeros_like(w, dtype=torch.bool).scatter_(-1, order[:, :k], True)[None]


def kernel_of(w: Tensor, examples: int, generator: torch.Generator) -> Tensor:
    """HᵀH/n of the local fields H = ξwᵀ/√N of fresh examples, (K, K), in float64."""
    K, N = w.shape
    total = torch.zeros(K, K, dtype=torch.float64)
    for x in _examples(examples, N, generator, w.dtype):
        fields = (x @ w.T / math.sqrt(N)).double()
        total += fields.T @ fields
    return total / examples


@torch.inference_mode()
def losses(
    w: Tensor,
    v: Tensor,
    teacher: Tensor,
    A: Tensor,
    masks: Mapping[Name, Tensor],
    *,
    examples: int,
    generator: torch.Generator,
    noise: float = 0.0,
) -> dict[Name, Tensor]:
    """Half the mean squared error under every mask, (count,) a name.

    Args:
        w: (K, N). v: (K,). teacher: (M, N). A: (M,). masks: of units or weights; see the module.
        examples: how many are drawn. noise: σ of their labels.
    """
    N = w.shape[1]
    totals = {name: torch.zeros(len(m), dtype=torch.float64) for name, m in masks.items()}
    for x in _examples(examples, N, generator, w.dtype):
        y = torch.erf(x @ teacher.T / math.sqrt(2 * N)) @ A
        y += noise * torch.randn(len(x), generator=generator, dtype=w.dtype)
        units = torch.erf(x @ w.T / math.sqrt(2 * N))
        for name, mask in masks.items():
            if mask.dim() == 2:
                totals[name] += _squared(units @ (mask * v).T - y[:, None])
                continue
            size = max(1, _COLUMNS // len(v))
            for i in range(0, len(mask), size):
                cut = (mask[i : i + size] * w).flatten(0, 1)  # (masks·K, N)
                fields = (x @ cut.T).mul_(math.sqrt(0.5 / N)).erf_().unflatten(1, (-1, len(v)))
                totals[name][i : i + size] += _squared(fields @ v - y[:, None])
    return {name: 0.5 * total / examples for name, total in totals.items()}


def _squared(errors: Tensor) -> Tensor:
    return errors.double().square_().sum(0)


def _examples(count: int, N: int, generator: torch.Generator, dtype: torch.dtype) -> Iterator[Tensor]:
    for start in range(0, count, _CHUNK):
        yield torch.randn(min(_CHUNK, count - start), N, generator=generator, dtype=dtype)


__all__ = [
    "diverse_nodes",
    "edges_for",
    "important_edges",
    "important_nodes",
    "kernel_of",
    "losses",
    "random_edges",
    "random_nodes",
    "rescaled",
]
