"""What one trace writes down, for :mod:`.coupling` to resolve afterwards.

Operator rules never decide what can be pruned; they only record facts: these nodes live and die together,
these cannot move, here is a place that must see zeros, here is a size the user's code wrote down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from .labels import Array, Block, Label, make_data


@dataclass(frozen=True)
class Axis:
    """An axis of a parameter or buffer, and the first of its consecutive nodes."""

    tensor: str
    axis: int
    start: int
    size: int


@dataclass(frozen=True)
class Split:
    """An axis seen as several, ``ids`` of shape (H, D, …): what is cut must stay a rectangle."""

    ids: Array
    path: str


@dataclass(frozen=True)
class Partial:
    """``sub`` indexes only the ``axes`` of a joint block: it follows if those are the axes that are cut.

    ``sub=None`` pins the axes to their size.
    """

    joint: Array
    axes: tuple[int, ...]
    sub: Array | None
    reason: str


@dataclass(frozen=True)
class Consumer:
    """A sum over ``ids``: for each, one of the ``options`` (silencer data) must hold when it is masked."""

    ids: Array
    options: tuple[Array, ...]


@dataclass(frozen=True)
class Product:
    """Multiply-accumulates of one contraction: coefficient × Π (indices kept)."""

    coefficient: float
    axes: tuple[Array, ...]


@dataclass(frozen=True)
class Size:
    """The module at ``path`` holds a number ``value`` that counts ``ids`` (heads, groups, a flat width).

    ``role`` ("heads", "width", "groups", "norm-groups", "piece", "flat") says which attributes may hold it,
    unless ``attribute`` names the one that does (entry ``index`` of it, where it is a tuple).
    """

    path: str
    role: str
    value: int
    ids: Array
    attribute: str = ""
    index: int | None = None


@dataclass
class Ledger:
    """All facts of one trace."""

    axes: list[Axis] = field(default_factory=list)
    size: int = 0
    unions: list[tuple[Array, Array]] = field(default_factory=list)
    freezes: list[tuple[Array, str]] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    partials: list[Partial] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    heads: list[Array] = field(default_factory=list)
    forbidden: list[Array] = field(default_factory=list)
    producers: list[tuple[str, Array]] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    # What every operator put out, and the loose nodes made on the way, for a trial cut to be held against.
    history: list[tuple[str, list[Label | None]]] = field(default_factory=list)
    loose: list[Array] = field(default_factory=list)
    outputs: list[tuple[tuple[int, ...], torch.dtype]] = field(default_factory=list)
    faked: bool = True
    # Dataflow between operators: what a dead one computes binds shapes, but no values.
    inputs_of: list[set[int]] = field(default_factory=lambda: [set()])
    value_freezes: list[tuple[int, Array, str]] = field(default_factory=list)
    value_consumers: list[tuple[int, Consumer]] = field(default_factory=list)

    @property
    def now(self) -> int:
        """Index of the operator that is running."""
        return len(self.inputs_of) - 1

    def fresh(self, count: int) -> Array:
        """New nodes that belong to no tensor (padding, for instance)."""
        self.loose.append(self._new(count))
        return self.loose[-1]

    def _new(self, count: int) -> Array:
        ids = np.arange(self.size, self.size + count, dtype=np.int64)
        self.size += count
        return ids

    def tensor(self, name: str, shape: Sequence[int]) -> Label:
        """Label a parameter or buffer: every index of every axis longer than 1 is its own node."""
        blocks = []
        for axis, size in enumerate(shape):
            if size > 1:
                ids = self._new(size)
                self.axes.append(Axis(name, axis, int(ids[0]), size))
                blocks.append(Block((axis,), make_data(ids, columns=[ids])))
        return Label(tuple(shape), tuple(blocks))

    def unite(self, left: Array, right: Array) -> None:
        if left is not right:
            self.unions.append((left, right))

    def tie(self, ids: Array, axes: Sequence[int]) -> Array:
        """Unite along ``axes``; returns ids without them."""
        first = ids[tuple(slice(0, 1) if a in axes else slice(None) for a in range(ids.ndim))]
        self.unite(ids, first)
        return first.squeeze(tuple(axes))

    def freeze(self, ids: Array, reason: str) -> None:
        self.freezes.append((ids, reason))

    def freeze_value(self, ids: Array, reason: str) -> None:
        """A freeze that holds only if what is computed here reaches the output."""
        self.value_freezes.append((self.now, ids, reason))

    def consume(self, ids: Array, *options: Array) -> None:
        self.value_consumers.append((self.now, Consumer(ids, options)))

    def finish(self, outputs: set[int]) -> None:
        """Keep the facts about values of operators that the outputs depend on."""
        live = set(outputs)
        for operator in range(self.now, -1, -1):
            if operator in live:
                live |= self.inputs_of[operator]
        # In trace order among all freezes is not needed: what depends on values names itself best.
        self.freezes = [(i, r) for o, i, r in self.value_freezes if o in live] + self.freezes
        self.consumers = [c for o, c in self.value_consumers if o in live]
