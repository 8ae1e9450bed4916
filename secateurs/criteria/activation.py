"""Activations: what the readers of a channel get to see of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ..partition import Players
from ..shapes import PerPlayer
from ..signals import Signals
from .base import Score
from .places import consumers, require_every_layer


class _Read(Score):
    """The mean of something over all that the modules which read a channel are given: examples, positions, readers.

    What they are given has been through the nonlinearity, and through pooling and sums that lie in between.
    """

    cost: ClassVar[str] = "a few forward passes, once"
    needs: ClassVar[str] = "calibration batches"
    granularities: ClassVar[tuple[str, ...]] = ("channel",)

    @abstractmethod
    def look(self, x: Tensor) -> Tensor:
        """What is averaged, of each activation."""

    def require(self, players: Players) -> None:
        super().require(players)
        owners = [found for _, found, _ in consumers(players).values()]
        require_every_layer(players, owners, self.name, "is read by no linear or convolutional module")

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        self.require(players)
        found = consumers(players)
        nobody = {
            name: torch.where(who < 0, players.count, who).to(players.device) for name, (_, who, _) in found.items()
        }
        sums = torch.zeros(players.count + 1, dtype=torch.float64, device=players.device)
        counts = torch.zeros_like(sums)

        def look(name: str, x: Tensor) -> None:
            each = self.look(x).movedim(found[name][2], 0).flatten(1)
            sums.index_add_(0, nobody[name], each.sum(1, dtype=sums.dtype))
            counts.index_add_(0, nobody[name], torch.full_like(nobody[name], each.shape[1], dtype=sums.dtype))

        signals.visit({name: module for name, (module, _, _) in found.items()}, look)
        return (sums / counts)[: players.count].to(players.dtype)


class Activation(_Read):
    """E|a_g|: the mean absolute activation of a channel, over examples and positions, behind its nonlinearity
    (Polyak & Wolf 2015; Molchanov et al. 2017).

    Raises:
        StructureError: a channel that no linear or convolutional module reads; names the layers.
    """

    name: ClassVar[str] = "activation"
    summary: ClassVar[str] = "the smallest mean |activation|"
    source: ClassVar[str] = "Polyak & Wolf 2015; Molchanov et al. 2017"

    def look(self, x: Tensor) -> Tensor:
        return x.abs()


class Apoz(_Read):
    """1 − APoZ_g = E[a_g ≠ 0], APoZ the average percentage of zeros (Hu et al. 2016): how often a channel says
    anything, behind its ReLU. Behind a nonlinearity that is never zero all channels score 1.

    Raises:
        StructureError: a channel that no linear or convolutional module reads; names the layers.
    """

    name: ClassVar[str] = "apoz"
    summary: ClassVar[str] = "the highest average percentage of zeros behind the ReLU"
    source: ClassVar[str] = "Hu et al. 2016"

    def look(self, x: Tensor) -> Tensor:
        return x != 0
