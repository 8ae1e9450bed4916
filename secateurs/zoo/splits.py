"""Batches in an order that is a function of (seed, epoch) alone, so that any run can be resumed anywhere.

A split serves *global* batches; with several processes each takes its slice of every one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from ..errors import DataError
from ..spec import derive_seed
from .augment import Draws, crop_flip, draw

Batch = tuple[Tensor, Tensor]


class Split(Protocol):
    """Part of a data set: train, validation or test."""

    def __len__(self) -> int: ...

    def batches(
        self,
        batch_size: int,
        *,
        epoch: int | None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
        device: torch.device | str | None = None,
        start: int = 0,
        augment: bool = True,
    ) -> Iterator[Batch]:
        """Batches (x, y) of one pass.

        Args:
            batch_size: examples in a global batch.
            epoch: orders and augments from (seed, epoch); ``None``: in order, as they are.
            rank, world: of the processes, this one's slice of each global batch (contiguous).
            drop_last: leave out a last batch that is not full.
            device: where to put them.
            start: first batch of the pass to serve; those before it cost nothing.
            augment: False leaves out what augments an epoch; transforms of a user's own dataset belong to its examples.
        """
        ...


def spans(count: int, batch_size: int, rank: int, world: int, drop_last: bool, start: int) -> Iterator[tuple[int, int]]:
    """Positions [first, last) of this rank's slice of each global batch.

    Raises:
        DataError: a batch size below 1.
    """
    if batch_size < 1:
        raise DataError(f"batch size {batch_size}: must be at least 1")
    batches = count // batch_size if drop_last else -(-count // batch_size)
    for batch in range(start, batches):
        low = batch * batch_size
        size = min(batch_size, count - low)
        yield low + rank * size // world, low + (rank + 1) * size // world


def permutation(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch."""
    return torch.randperm(count, generator=_generator(seed, "order", epoch))


class TensorSplit:
    """Examples in memory. Images stay bytes until they are served: smaller, and faster to gather.

    Args:
        x: examples (n, …), uint8 or floating point.
        y: labels (n,), integers.
        mean, std: of the raw values, one number or one per channel (axis 1); served as (x − mean)/std.
        augment: ``"none"`` or ``"crop-flip"``, applied where an epoch is given.
    Raises:
        DataError: lengths differ, or the split is empty.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        *,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        augment: str = "none",
    ) -> None:
        if len(x) != len(y):
            raise DataError(f"{len(x)} examples of shape {tuple(x.shape[1:])} but {len(y)} labels")
        if len(x) == 0:
            raise DataError("the split is empty: no examples")
        self.x, self.y, self.augment = x, y.long(), augment
        self._scale = self._shift = None
        if mean is not None and std is not None:
            shape = (1, -1) + (1,) * (x.dim() - 2)
            self._scale = (1.0 / std.double()).float().reshape(shape)
            self._shift = (-mean.double() / std.double()).float().reshape(shape)
        self._device = x.device

    def __len__(self) -> int:
        return len(self.x)

    def batches(
        self,
        batch_size: int,
        *,
        epoch: int | None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
        device: torch.device | str | None = None,
        start: int = 0,
        augment: bool = True,
    ) -> Iterator[Batch]:
        """See :class:`Split`."""
        self._move(device)
        count, order, draws = len(self), None, None
        if epoch is not None:
            order = permutation(count, seed, epoch).to(self._device)
            if augment and self.augment == "crop-flip":
                draws = draw(count, _generator(seed, "augment", epoch))
                draws = Draws(*(d.to(self._device) for d in draws))
        for low, high in spans(count, batch_size, rank, world, drop_last, start):
            if order is None:
                # Cloned: the caller may write into what it is given.
                yield self._normalise(self.x[low:high].clone()), self.y[low:high].clone()
                continue
            index = order[low:high]
            x = self.x.index_select(0, index)
            if draws is not None:
                x = crop_flip(x, draws.part(low, high))
            yield self._normalise(x), self.y.index_select(0, index)

    def _normalise(self, x: Tensor) -> Tensor:
        if self._scale is None or self._shift is None:
            return x if x.is_floating_point() else x.float()
        return x.float().mul_(self._scale).add_(self._shift)

    def _move(self, device: torch.device | str | None) -> None:
        # Once: on an accelerator the bytes live there, and no batch waits for a copy.
        if device is None or torch.device(device) == self._device:
            return
        self._device = torch.device(device)
        self.x, self.y = self.x.to(device), self.y.to(device)
        if self._scale is not None and self._shift is not None:
            self._scale, self._shift = self._scale.to(device), self._shift.to(device)


def stratified(labels: Tensor, count: int, seed: int, name: str) -> Tensor:
    """A random part of ``count`` examples in which every class has its share.

    Each example gets the key (rank within its class, in random order)/(size of its class); the ``count``
    smallest keys form the part, so class shares are exact to one example.

    Args:
        labels: (n,) integers.
        count: examples in the part.
        seed, name: of the draw.
    Returns:
        mask (n,), True in the part.
    """
    generator = _generator(seed, name)
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[torch.argsort(labels[order], stable=True)]
    sizes = torch.bincount(labels)
    firsts = sizes.cumsum(0) - sizes
    own = labels[by_class]
    rank = torch.arange(len(labels)) - firsts[own]
    key = (rank.double() + torch.rand(len(labels), generator=generator, dtype=torch.float64)) / sizes[own]
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[by_class[key.argsort()[:count]]] = True
    return mask


def _generator(seed: int, *names: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, *names))
