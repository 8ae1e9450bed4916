"""Which value comes from which: the dataflow between operators, and the modules it passes through.

The rules speak of axes. Whether a module hands its input on is a question about whole values, so each gets
a number, a new one whenever it is written. Recorded only where blocks are looked for.
"""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .bypass import Source, parameters_of
from .labels import Label

if TYPE_CHECKING:
    from .rules import Call

VALUE = "_secateurs_value"
Range = tuple[float, float]
UNBOUNDED: Range = (-math.inf, math.inf)

# Every entry of what these put out is an entry of what they are given.
REARRANGES = frozenset((
    "view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "movedim", "squeeze", "unsqueeze",
    "expand", "slice", "select", "narrow", "split", "split_with_sizes", "chunk", "unbind", "cat", "stack",
    "clone", "contiguous", "alias", "detach", "lift_fresh", "_to_copy",
))  # fmt: skip
POOLS = frozenset((
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "amax", "amin",
))  # fmt: skip
# Means: between the smallest and the largest entry, or zero where the border is padded.
MEANS = frozenset(("avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "mean"))


@dataclass(frozen=True)
class Argument:
    """A tensor that a module was called with."""

    source: Source
    value: int
    shape: tuple[int, ...]
    floating: bool


@dataclass(frozen=True)
class Step:
    """One operator.

    Attributes:
        operands: value and label of each tensor it read, in order.
        clamp: the operator is the identity between these bounds and clips to them.
        written: it wrote its result over one of them.
        touched: values of other tensors that see what was written.
    """

    name: str
    operands: tuple[tuple[int, Label], ...]
    results: tuple[int, ...]
    clamp: Range | None
    written: bool
    touched: tuple[int, ...] = ()


@dataclass
class Visit:
    """One call of a module: steps and products ``start … stop−1``.

    Attributes:
        form: "tensor", "tuple", "list", or the name of a type that is none of these.
        items: values returned, None where None is; empty where something else is returned.
        shape: of the first of them.
        kept: other values made meanwhile whose tensors live on, outside the module itself.
    """

    path: str
    module: nn.Module
    arguments: list[Argument]
    steps: slice
    products: slice
    form: str = ""
    items: list[int | None] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    kept: set[int] = field(default_factory=set)


@dataclass
class Flow:
    """All steps and all calls of one trace; calls in the order in which they ended, so inner ones come first.

    Attributes:
        bounds: between which numbers a value lies, whatever the weights are.
        tensors: parameters and buffers → their value.
        results: what the model returned.
    """

    steps: list[Step] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    bounds: dict[int, Range] = field(default_factory=dict)
    tensors: dict[str, int] = field(default_factory=dict)
    results: list[int] = field(default_factory=list)
    _open: list[tuple[Visit, int]] = field(default_factory=list)
    _holders: list[weakref.ref[Tensor]] = field(default_factory=list)  # of each value, while it lives

    def renew(self, tensor: Tensor) -> int:
        """The tensor holds a new value."""
        value = len(self._holders)
        setattr(tensor, VALUE, value)
        self._holders.append(weakref.ref(tensor))
        return value

    def value(self, tensor: Tensor) -> int:
        held = getattr(tensor, VALUE, None)
        return self.renew(tensor) if held is None else held

    def read(self, tensors: Sequence[Tensor], label_of: Callable[[Tensor], Label]) -> tuple[tuple[int, Label], ...]:
        """What an operator is about to read."""
        return tuple((self.value(t), label_of(t)) for t in tensors)

    def step(self, call: Call, operands: tuple[tuple[int, Label], ...], outputs: Sequence[Any], written: bool) -> None:
        """An operator ran; its outputs have been renewed."""
        results = tuple(self.value(t) for t in outputs if isinstance(t, Tensor))
        clamp = _clamp(call)
        self.steps.append(Step(call.name, operands, results, clamp, written))
        ranges = [self.bounds.get(value, UNBOUNDED) for value, _ in operands]
        low, high = min((r[0] for r in ranges), default=-math.inf), max((r[1] for r in ranges), default=math.inf)
        if clamp is not None:
            low, high = min(max(low, clamp[0]), clamp[1]), max(min(high, clamp[1]), clamp[0])
        elif call.name in MEANS:
            low, high = min(low, 0.0), max(high, 0.0)
        elif call.name not in REARRANGES and call.name not in POOLS:
            return
        if (low, high) != UNBOUNDED:
            # A pool's second result is positions.
            self.bounds |= dict.fromkeys(results if call.name in REARRANGES else results[:1], (low, high))

    def touch(self, tensors: Sequence[Tensor]) -> None:
        """What the last operator wrote shows in these as well."""
        if tensors:
            self.steps[-1] = replace(self.steps[-1], touched=tuple(self.renew(t) for t in tensors))

    def enter(self, path: str, module: nn.Module, args: Any, kwargs: Any, products: int) -> None:
        names = [p.name for p in parameters_of(module) if p.kind is p.POSITIONAL_OR_KEYWORD]
        arguments = [((i, names[i] if i < len(names) else ""), v) for i, v in enumerate(args)]
        arguments += [((-1, name), v) for name, v in kwargs.items()]
        tensors = [
            Argument(source, self.value(v), tuple(v.shape), v.is_floating_point())
            for source, v in arguments
            if isinstance(v, Tensor)
        ]
        visit = Visit(path, module, tensors, slice(len(self.steps), 0), slice(products, 0))
        self._open.append((visit, len(self._holders)))

    def leave(self, out: Any, products: int) -> None:
        visit, first = self._open.pop()
        visit.steps = slice(visit.steps.start, len(self.steps))
        visit.products = slice(visit.products.start, products)
        items = [out] if isinstance(out, Tensor) else list(out) if type(out) in (tuple, list) else []
        visit.form = "tensor" if isinstance(out, Tensor) else type(out).__name__
        if items and isinstance(items[0], Tensor) and all(v is None or isinstance(v, Tensor) for v in items):
            visit.items = [None if v is None else self.value(v) for v in items]
            visit.shape = tuple(items[0].shape)
            visit.kept = self._kept(visit, first)
            if visit.kept and visit.arguments and visit.arguments[0].shape == visit.shape:
                gc.collect()  # what only a cycle of references holds is not kept
                visit.kept = self._kept(visit, first)
        self.visits.append(visit)

    def _kept(self, visit: Visit, first: int) -> set[int]:
        own = {id(t) for m in visit.module.modules() for t in vars(m).values() if isinstance(t, Tensor)}
        alive = [t for r in self._holders[first:] if (t := r()) is not None and id(t) not in own]
        return {self.value(t) for t in alive}.difference(v for v in visit.items if v is not None)


def _clamp(call: Call) -> Range | None:
    if call.name == "relu":
        return (0.0, math.inf)
    if call.name in ("relu6", "hardtanh"):
        return (0.0, 6.0) if call.name == "relu6" else (float(call["min_val"]), float(call["max_val"]))
    if call.name in ("clamp", "clip", "clamp_min", "clamp_max"):
        low, high = call["min"], call["max"]
        if not isinstance(low, Tensor) and not isinstance(high, Tensor):
            return (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    return None
