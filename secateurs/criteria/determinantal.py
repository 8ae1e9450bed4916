"""Determinantal selection: a diverse subset of units, of which none says what others say already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..maths.determinantal import Determinantal, included
from ..maths.kernels import EPSILON, gaussian, linear
from ..partition import Layer, Players
from ..shapes import Mask, PerPlayer
from ..signals import Signals
from .base import Score
from .information import channel_grams, edges, require_channels, require_edges

PIECE = 1 << 22  # numbers of kernels held at a time


class Determinant(Score):
    """P(g ∈ Y) under the DPP of a layer's kernel L, which is K_gg with K = L(L + I)⁻¹ (Mariet & Sra 2016, DIVNET;
    Acharyya et al. 2021). It is low where others say the same.

    Who stays is drawn: once the budget says how many of a layer do, :meth:`settle` draws that many from its k-DPP. Of
    channels, L is over those of a layer; of single weights, over the incoming edges of each neuron, which keep equally
    many of them (the remainder goes to neurons of lower index).

    Args:
        kernel: 'gaussian', exp(−β‖a_s − a_t‖²) + ε·1[s = t] of what the readers of a channel are given; 'linear',
            HᵀH/|T| of what the modules that make it return, before the nonlinearity. Of an edge both are of w_ji·x_j.
        beta: β; None: 10/|T|, T the examples, and positions of feature maps. epsilon: ε.
        draw: 'sample' from the k-DPP; 'map': its greedy mode, ties by lower index.

    Beyond the rank of a kernel, which a linear one may have, the rest is drawn evenly from what it does not tell apart
    (the limit δ → 0 of L + δI); by lower index where the mode is asked for.

    Raises:
        StructureError: a channel that nothing linear reads (or makes), a weight of another kind of module, or one with
            more than 4,096 inputs a neuron. DataError: activations that are not finite.
    """

    name: ClassVar[str] = "dpp"
    summary: ClassVar[str] = "draw a diverse subset from a determinantal point process over activations"
    source: ClassVar[str] = "Mariet & Sra 2016 (DIVNET); Acharyya et al. 2021"
    cost: ClassVar[str] = "a few forward passes, twice, and a spectrum per layer (of single weights: per neuron)"
    needs: ClassVar[str] = "calibration batches"
    granularities: ClassVar[tuple[str, ...]] = ("channel", "weight")

    def __init__(
        self,
        kernel: Literal["gaussian", "linear"] = "gaussian",
        *,
        beta: float | None = None,
        epsilon: float = EPSILON,
        draw: Literal["sample", "map"] = "sample",
    ) -> None:
        self.kernel, self.beta, self.epsilon, self.draw = kernel, beta, epsilon, draw

    def require(self, players: Players) -> None:
        super().require(players)
        if players.granularity == "weight":
            require_edges(players, self.name)
        else:
            require_channels(players, self.name, made=self.kernel == "linear")

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        self.require(players)
        return torch.cat([included(L).flatten() for _, _, L in self._kernels(players, signals)]).to(players.dtype)

    def settle(self, players: Players, signals: Signals, keep: Mask) -> Mask:
        drawn = []
        for layer, row, L in self._kernels(players, signals):
            total = int(keep[layer.start : layer.stop].sum())
            sizes = shared(total, layer.size // L.shape[1])[row : row + len(L)].to(L.device)
            drawn.append(self._drawn(Determinantal(L), sizes, signals.generator).flatten())
        return torch.cat(drawn).to(keep.device)

    def _drawn(self, held: Determinantal, sizes: Tensor, generator: torch.Generator) -> Tensor:
        if self.draw == "sample":
            return held.mask(generator, sizes, fill=True)
        order = held.most_likely(int(sizes.max()), fill=True)
        stays = torch.arange(order.shape[1], device=order.device) < sizes[:, None]
        mask = torch.zeros(len(order), held.size, dtype=torch.bool, device=order.device)
        return mask.scatter_(1, order, stays)  # items are distinct, and those that were taken first stay

    def _kernels(self, players: Players, signals: Signals) -> Iterator[tuple[Layer, int, Tensor]]:
        """Kernels ``(b, n, n)``, in the order of the players: the layer, and the first of its rows that they are of. A
        layer of channels is one row."""
        if players.granularity == "weight":
            for each in edges(players, signals):
                yield from ((each.layer, row, self._kernel(gram, of)) for row, gram, of in each.weighted(PIECE))
        else:
            made = self.kernel == "linear"
            for layer, gram in zip(players.layers, channel_grams(players, signals, made=made)):
                yield layer, 0, self._kernel(gram.matrix[None], gram.examples)

    def _kernel(self, gram: Tensor, examples: int) -> Tensor:
        if self.kernel == "linear":
            return linear(gram, examples)
        return gaussian(gram, examples, self.beta, self.epsilon)


def shared(total: int, rows: int) -> Tensor:
    """A count as equal shares of so many rows, ``(rows,)``; the remainder goes to the first."""
    return total // rows + (torch.arange(rows) < total % rows).long()
