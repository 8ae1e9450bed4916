"""What one trace writes down, for :mod:`.coupling` to resolve afterwards.

Operator rules never decide what can be pruned; they only record facts: these nodes live and die together,
these cannot move, here is a place that must see zeros, here is a size the user's code wrote down.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from .decisions import Decisions
from .flow import Flow
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

    ``role`` ("heads", "width", "groups", "norm-groups", "piece", "hidden", "flat") says which attributes may
    hold it, unless ``attribute`` names the one that does (entry ``index`` of it, where it is a tuple). A
    ``guess`` is followed only where the model does not run without.
    """

    path: str
    role: str
    value: int
    ids: Array
    attribute: str = ""
    index: int | None = None
    guess: bool = False


@dataclass(frozen=True)
class Asked:
    """Size ``position`` in a ``call`` with explicit sizes of a module's code counts the rows of ``ids`` (rows, rest).

    Calls are numbered for each module from its start, those of modules inside it included (see :mod:`.resizing`).
    """

    path: str
    call: str
    position: int
    ids: Array


@dataclass
class Sliced:
    """What was noted of a tensor's axis because slices of it had one length: numbers of unions and of sizes.

    Attributes:
        lengths: of the slices; 0 for one that cannot be a piece.
    """

    block: Block  # held, so that no other takes its identity
    lengths: set[int] = field(default_factory=set)
    unions: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


class Operator(NamedTuple):
    """One operator call: the module it ran in, and how many facts of each kind had been noted before it."""

    name: str
    path: str
    module: type | None
    unions: int = 0
    freezes: int = 0
    splits: int = 0
    partials: int = 0


OUTPUT = "output"  # the operator that stands at the end of each run
# What a ledger holds of one run alone; all else is facts, which further runs add to.
OF_ONE_RUN = frozenset((
    "products", "history", "numbers", "loose", "outputs", "faked", "flow", "inputs", "training", "others", "elsewhere",
    "sliced",
))  # fmt: skip


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
    asked: list[Asked] = field(default_factory=list)
    # Axes on which a module's code writes sizes down, and why they stay unless these are scaled.
    written: list[tuple[str, Array, str]] = field(default_factory=list)
    heads: list[Array] = field(default_factory=list)
    forbidden: list[Array] = field(default_factory=list)
    producers: list[tuple[str, Array]] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    # What every operator put out and computed with, and the loose nodes made on the way, for a trial cut to be held
    # against.
    history: list[tuple[str, list[Label | None]]] = field(default_factory=list)
    numbers: list[tuple[str, ...]] = field(default_factory=list)
    loose: list[Array] = field(default_factory=list)
    outputs: list[tuple[tuple[int, ...], torch.dtype]] = field(default_factory=list)
    faked: bool = True
    inputs: Any = None
    training: bool = False
    # Further runs whose facts are among these, and tensors that only they read, or may read.
    others: list[Ledger] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)
    held: dict[tuple[str, int], Axis] = field(default_factory=dict)
    decisions: Decisions = field(default_factory=Decisions)
    # Dataflow of whole values and the modules around it, where blocks are looked for.
    flow: Flow | None = None
    # Dimensions whose size the code gave to a tensor: the module, that size, and the first axis that met one.
    given: list[tuple[str, int]] = field(default_factory=list)
    met: dict[int, Array] = field(default_factory=dict)
    sliced: dict[int, Sliced] = field(default_factory=dict)  # by the identity of a block
    # Dataflow between operators: what a dead one computes binds shapes, but no values. Number 0 made the model's
    # inputs; number -1-k is the k-th of the tensors.
    inputs_of: list[set[int]] = field(default_factory=lambda: [set()])
    operators: list[Operator] = field(default_factory=lambda: [Operator("input", "", None)])
    results: dict[int, list[Label | None]] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)  # operators that compute from the model's own tensors alone
    tensors: list[str] = field(default_factory=list)
    live: set[int] = field(default_factory=set)
    value_freezes: list[tuple[int, Array, str]] = field(default_factory=list)
    value_consumers: list[tuple[int, Consumer]] = field(default_factory=list)
    valued: int = 0  # how many of the freezes are of values; they come first

    def again(self) -> Ledger:
        """A ledger that goes on from these facts, for another run of the same model."""
        held = {f.name: copy.copy(getattr(self, f.name)) for f in fields(self) if f.name not in OF_ONE_RUN}
        held["freezes"] = self.freezes[self.valued :]
        held["held"] = {(a.tensor, a.axis): a for a in self.axes}
        held["decisions"] = self.decisions.copy()
        return Ledger(**held)

    def take(self, other: Ledger) -> None:
        """The facts of a further run become this ledger's."""
        for f in fields(self):
            if f.name not in OF_ONE_RUN:
                setattr(self, f.name, getattr(other, f.name))
        self.others.append(other)

    @property
    def now(self) -> int:
        """Index of the operator that is running."""
        return len(self.inputs_of) - 1

    def begin(self, name: str, path: str, module: type | None, inputs: set[int]) -> None:
        """An operator runs: what is noted from here on is its doing."""
        counts = len(self.unions), len(self.freezes), len(self.splits), len(self.partials)
        self.operators.append(Operator(name, path, module, *counts))
        self.inputs_of.append(inputs)
        if all(origin < 0 or origin in self.stored for origin in inputs):
            self.stored.add(self.now)

    def called(self, func: Any, args: Any, kwargs: Any, path: str, label_of: Callable[[torch.Tensor], Label]) -> None:
        """An operator is about to be read; for ledgers that keep the calls themselves."""

    def fresh(self, count: int) -> Array:
        """New nodes that belong to no tensor (padding, for instance)."""
        self.loose.append(self._new(count))
        return self.loose[-1]

    def give(self, path: str, size: int) -> int:
        """A number for a dimension that the code of this module makes so long."""
        self.given.append((path, size))
        return len(self.given) - 1

    def meets(self, number: int, ids: Array) -> None:
        """A given dimension meets an axis. One tensor has one size: all axes that it meets are cut alike."""
        path, size = self.given[number]
        first = self.met.setdefault(number, ids)
        if first is ids:
            self.sizes.append(Size(path, "repeats", size, ids))
        elif first.shape == ids.shape:
            self.unite(first, ids)

    def _new(self, count: int) -> Array:
        ids = np.arange(self.size, self.size + count, dtype=np.int64)
        self.size += count
        return ids

    def tensor(self, name: str, shape: Sequence[int]) -> Label:
        """Label a parameter or buffer: every index of every axis longer than 1 is its own node."""
        blocks = []
        for axis, size in enumerate(shape):
            if size > 1:
                known = self.held.get((name, axis))
                ids = self._new(size) if known is None else np.arange(known.start, known.start + size)
                if known is None:
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

    def take_back(self, found: Sliced) -> None:
        """Slices turned out to be no equal pieces: what was noted of them leaves no trace but its number."""
        nothing = np.empty(0, dtype=np.int64)
        for number in found.unions:
            self.unions[number] = nothing, nothing
        for number in found.sizes:
            self.sizes[number] = replace(self.sizes[number], ids=nothing)

    def freeze(self, ids: Array, reason: str) -> None:
        self.freezes.append((ids, reason))

    def freeze_value(self, ids: Array, reason: str) -> None:
        """A freeze that holds only if what is computed here reaches the output."""
        self.value_freezes.append((self.now, ids, reason))

    def consume(self, ids: Array, *options: Array) -> None:
        self.value_consumers.append((self.now, Consumer(ids, options)))

    def finish(self, outputs: set[int]) -> None:
        """Keep the facts about values of operators that the outputs, or the way the code takes, depend on."""
        live = self.live | outputs | self.decisions.origins
        for operator in range(self.now, -1, -1):
            if operator in live:
                live |= self.inputs_of[operator]
        self.live = live
        # In trace order among all freezes is not needed: what depends on values names itself best.
        values = [(i, r) for o, i, r in self.value_freezes if o in live]
        self.valued = len(values)
        self.freezes = values + self.freezes
        self.consumers = [c for o, c in self.value_consumers if o in live]

    def unread(self) -> list[str]:
        """Tensors that no output depends on, and no way that the code took."""
        return [name for number, name in enumerate(self.tensors) if -1 - number not in self.live]
