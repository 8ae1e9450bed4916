"""Node importance: how strong the weights at a unit are, those that leave it or those that enter it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..partition import Players, producers
from ..shapes import PerPlayer
from ..signals import Signals
from ..signals.patches import groups_of
from ..structure.naming import CONVOLUTIONS, TRANSPOSED
from .base import Score
from .places import consumers, mean, require_every_layer


class _Incident(Score):
    """The mean of a channel's incident weights, each as it counts: means, and not He et al.'s (2014) sums over a
    layer's width, so that layers compare. Within a layer both rank alike."""

    granularities: ClassVar[tuple[str, ...]] = ("channel",)
    signed: ClassVar[bool] = False

    @abstractmethod
    def weights(self, players: Players) -> Iterator[tuple[Tensor, Tensor]]:
        """Players ``(n,)``, −1 nobody, and as many rows of their weights ``(n, d)``."""

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        self.require(players)
        count = (lambda w: w) if self.signed else torch.abs
        return mean(players, ((who, count(w.double()).mean(1)) for who, w in self.weights(players)))


class Importance(_Incident):
    """Σ_k |w_gk|/(number of w_gk), over the weights of the modules that read the channel (He et al. 2014:
    'onorm'). Several readers count by their mean; so do the inputs of one reader that a channel has, flattened.

    Raises:
        StructureError: a channel that no linear or convolutional module reads; names the layers.
    """

    name: ClassVar[str] = "importance"
    summary: ClassVar[str] = "the smallest mean |weight| of those that read a channel"
    source: ClassVar[str] = "He et al. 2014 (node pruning)"

    def require(self, players: Players) -> None:
        super().require(players)
        owners = [found for _, found, _ in consumers(players).values()]
        require_every_layer(players, owners, self.name, "is read by no linear or convolutional module")

    def weights(self, players: Players) -> Iterator[tuple[Tensor, Tensor]]:
        for module, found, _ in consumers(players).values():
            yield found, _inputs(module)


class ImportanceSigned(Importance):
    """Σ_k w_gk/(number of w_gk) with its sign: who speaks against goes first, as the public code of Acharyya et al.
    (2021) has it in the teacher–student setup.

    Raises:
        StructureError: as of ``importance``.
    """

    name: ClassVar[str] = "importance-signed"
    summary: ClassVar[str] = "the smallest mean weight, with its sign, of those that read a channel"
    source: ClassVar[str] = "Acharyya et al. 2021 (their code)"
    signed: ClassVar[bool] = True


class ImportanceIn(_Incident):
    """Σ_j |w_jg|/(number of w_jg), over the weights that make the channel, biases left out; several tied producers
    count by their mean. Where nothing of two or more dimensions makes it, those that silence it."""

    name: ClassVar[str] = "importance-in"
    summary: ClassVar[str] = "the smallest mean |weight| of those that make a channel"
    source: ClassVar[str] = "He et al. 2014 (node pruning)"

    def weights(self, players: Players) -> Iterator[tuple[Tensor, Tensor]]:
        made = producers(players)
        yield from made.stacked([p.detach().cpu() for p in made.parameters])


class ImportanceInSigned(ImportanceIn):
    """Σ_j w_jg/(number of w_jg), with its sign."""

    name: ClassVar[str] = "importance-in-signed"
    summary: ClassVar[str] = "the smallest mean weight, with its sign, of those that make a channel"
    signed: ClassVar[bool] = True


def _inputs(module: nn.Module) -> Tensor:
    """A weight's slices along its inputs, ``(inputs, …)``."""
    assert isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED))
    weight = module.weight.detach()
    if isinstance(module, TRANSPOSED):
        return weight.flatten(1)
    return weight.unflatten(0, (groups_of(module), -1)).transpose(1, 2).flatten(0, 1).flatten(1)
