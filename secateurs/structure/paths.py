"""Paths that the first trace did not take: code for training, and branches on data.

One run in evaluation mode reads what that run does. Where it leaves parameters unread, the model is run again, and
what the further runs tell is added to the same facts: in training mode, for auxiliary heads; and, where the code looks
at values, on other values of the example inputs. If some parameters are still unread then, whatever the unseen code
could touch stays as it is. Parameters that no mode reads and no value decides about are simply not used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils import _pytree

from ..errors import StructureError
from .copying import tensors_in
from .labels import Array
from .ledger import Ledger
from .naming import inside
from .reader import CONSTANT
from .tracing import reread

UNREACHED = (
    "values decide whether {names} runs, and on the example inputs it does not; give further inputs on which it does, "
    "also=[inputs], or delete it if there are none"
)
UNTRAINED = (
    "{names} does not run in evaluation mode, and in training mode the model does not run on the example inputs "
    "({error}); give further inputs on which it does, also=[inputs]"
)
NAMED = 3


def explore(
    model: nn.Module, ledger: Ledger, inputs: Any, also: list[Any] | None, seconds: float
) -> list[tuple[Array, str]]:
    """Add to a ledger what further runs tell.

    Args:
        ledger: of a run on ``inputs`` in evaluation mode.
        also: further inputs, which are run in any case.
        seconds: how long the search for inputs that reach all of the code may take.

    Returns:
        nodes that must stay, and why.

    Raises:
        StructureError: ``also`` is no list, or the model runs on an entry neither in evaluation nor in training mode.
    """
    also = [] if also is None else also
    if not isinstance(also, list):
        raise StructureError("also= takes a list of further example inputs, such as also=[inputs]")
    explorer = _Explorer(model, ledger, time.monotonic() + seconds)
    first = set(explorer.unread())
    explorer.given(also)
    if explorer.unread():
        explorer.train([inputs, *also])
    explorer.probe(inputs)
    fixed, unsure = explorer.unseen()
    ledger.elsewhere = first - set(explorer.unread()) | unsure
    return fixed


@dataclass
class _Explorer:
    model: nn.Module
    ledger: Ledger
    deadline: float
    failure: str = ""
    _ways: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._ways.add(_way(self.ledger, 0))
        wide = {axis.tensor for axis in self.ledger.axes}
        parameters = {name for name, _ in self.model.named_parameters()}
        norms = {path for path, module in self.model.named_modules() if isinstance(module, _NormBase)}
        # Other buffers are often left over; statistics have the width of what a norm is given.
        self.tracked = [
            name
            for name in self.ledger.tensors
            if name in parameters or (name.rpartition(".")[0] in norms and name in wide)
        ]

    def unread(self) -> list[str]:
        """Parameters, and statistics of norms, that nothing that was run depends on."""
        left = set(self.ledger.unread())
        return [name for name in self.tracked if name in left]

    # -- runs ----------------------------------------------------------------------------------------
    def given(self, also: Sequence[Any]) -> None:
        for inputs in also:
            try:
                self._take(reread(self.model, inputs, self.ledger))
            except StructureError as error:
                try:  # they may be made for training: targets beside an image, for instance
                    self._take(reread(self.model, inputs, self.ledger, training=True))
                except StructureError:
                    raise error from None

    def train(self, several: Sequence[Any]) -> None:
        """Run in training mode; of batches of one, which batch norm refuses there, two copies."""
        ran, failure = False, ""
        for inputs in several:
            for batch in (inputs, _twice(inputs)):
                try:
                    other = reread(self.model, batch, self.ledger, training=True)
                except StructureError as error:
                    failure = failure or _told(error)
                    continue
                ran = True
                if self._tells(other):
                    self._take(other)
                break
        self.failure = "" if ran else failure

    def probe(self, inputs: Any) -> None:
        """Run on other values until all is read that values decide about."""
        for training in (True,) if self.ledger.faked else (False, True):
            for variant in variants(inputs):
                if not any(self._scope(n) is not None for n in self.unread()) or time.monotonic() > self.deadline:
                    return
                try:
                    other = reread(self.model, variant, self.ledger, training=training, fakes=False)
                except StructureError:
                    continue
                # What the code does elsewhere in evaluation mode is a fact, too, even if it reads nothing new.
                if self._tells(other) or not (training or self._way_of(other) in self._ways):
                    self._take(other)

    def _take(self, other: Ledger) -> None:
        self._ways.add(self._way_of(other))
        self.ledger.take(other)

    def _way_of(self, other: Ledger) -> int:
        return _way(other, len(self.ledger.operators))

    def _tells(self, other: Ledger) -> bool:
        """Does a further run read, or decide, what none did before?"""
        read = set(self.unread()) - set(other.unread())
        return bool(read or other.decisions.modules - self.ledger.decisions.modules)

    # -- what is left --------------------------------------------------------------------------------
    def unseen(self) -> tuple[list[tuple[Array, str]], set[str]]:
        """Nodes that code which was not run could touch, with the reason; and the tensors that it reads."""
        scopes: dict[str, list[str]] = {}
        rest = []
        for name in self.unread():
            scope = self._scope(name)
            if scope is None:
                rest.append(name)
            else:
                scopes.setdefault(scope, []).append(name)
        fixed = [
            (self._touched(scope), UNREACHED.format(names=self._spelled(names))) for scope, names in scopes.items()
        ]
        unsure = {name for names in scopes.values() for name in names}
        if rest and self.failure:
            reason = UNTRAINED.format(names=self._spelled(rest), error=self.failure)
            fixed.append((self._as_wide_as(rest), reason))
            unsure |= set(rest)
        return fixed, unsure

    def _scope(self, name: str) -> str | None:
        """The outermost module that decides by values and holds a tensor; None if there is none."""
        parts = name.split(".")
        paths = [".".join(parts[:n]) for n in range(len(parts))]
        return next((path for path in paths if path in self.ledger.decisions.modules), None)

    def _touched(self, path: str) -> Array:
        """All nodes that code of a module could meet: of its tensors, its arguments, and what was run in it."""
        ledger = self.ledger
        if not path:
            return np.arange(ledger.size)
        visits = [v for v in ledger.decisions.visits if v.path == path]
        operators = {o for v in visits for o in v.operators}
        origins = {origin for o in operators for origin in ledger.inputs_of[o]}
        read = {ledger.tensors[-1 - o] for o in origins if CONSTANT < o < 0}
        labels = [label for o in operators | origins for label in ledger.results.get(o, ())]
        ids = [n.ravel() for v in visits for n in v.arguments]
        ids += [block.ids.ravel() for label in labels if label is not None for block in label.blocks]
        ids += [self._nodes(n) for n, a in enumerate(ledger.axes) if a.tensor in read or inside(a.tensor, path)]
        return np.unique(np.concatenate(ids)) if ids else np.empty(0, dtype=np.int64)

    def _as_wide_as(self, names: list[str]) -> Array:
        """All axes as long as one of these tensors'."""
        sizes = {a.size for a in self.ledger.axes if a.tensor in names}
        found = [self._nodes(n) for n, a in enumerate(self.ledger.axes) if a.size in sizes]
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _nodes(self, number: int) -> Array:
        axis = self.ledger.axes[number]
        return np.arange(axis.start, axis.start + axis.size)

    def _spelled(self, names: list[str]) -> str:
        """The outermost modules of which all is unread."""
        unread = set(self.unread())
        read = [name for name in self.tracked if name not in unread]
        found: dict[str, None] = {}
        for name in names:
            parts = name.split(".")
            paths = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
            found[next(p for p in paths if not any(inside(other, p) for other in read))] = None
        shown = [repr(name) for name in list(found)[:NAMED]]
        more = len(found) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more else "")


def _way(ledger: Ledger, start: int) -> int:
    """Which operators ran where, from a number on."""
    return hash(tuple((o.name, o.path) for o in ledger.operators[max(start, 1) :]))


def _told(error: StructureError) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0]}"


def _twice(inputs: Any) -> Any:
    """Two copies of every example."""
    tensors = tensors_in(inputs)
    batch = tensors[0].shape[0] if tensors and tensors[0].dim() else 0

    def double(value: Any) -> Any:
        fits = isinstance(value, Tensor) and value.dim() and value.shape[0] == batch
        return torch.cat([value, value]) if fits else value

    return _pytree.tree_map(double, inputs)


# -- other values ------------------------------------------------------------------------------------

Change = Callable[[Tensor], Tensor]
CHANGES: tuple[Change, ...] = (
    lambda v: -v,
    lambda v: 10 * v,
    lambda v: -10 * v,
    lambda v: v / 10,
    lambda v: v + 3,
    lambda v: v - 3,
    torch.abs,
    lambda v: -v.abs(),
    torch.zeros_like,
)
SCALES = 8 * (1, 10, 100)


def variants(inputs: Any) -> Iterator[Any]:
    """Inputs of the same form with other values: numbers of other signs and sizes, integers within their range."""
    generator = torch.Generator().manual_seed(0)

    def permuted(value: Tensor) -> Tensor:
        order = torch.randperm(value.numel(), generator=generator).to(value.device)
        return value.flatten()[order].view(value.shape)

    def normal(value: Tensor, scale: float) -> Tensor:
        return scale * torch.randn(value.shape, generator=generator)

    def drawn(value: Tensor) -> Tensor:
        low, high = int(value.min()), int(value.max())
        return torch.randint(low, high + 1, value.shape, generator=generator)

    for change in CHANGES:
        yield _changed(inputs, change, permuted)
    yield _changed(inputs, permuted, permuted)
    for scale in SCALES:
        yield _changed(inputs, partial(normal, scale=scale), drawn)


def _changed(inputs: Any, number: Change, integer: Change) -> Any:
    def changed(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.numel() or value.is_complex():
            return value
        return (number if value.is_floating_point() else integer)(value.detach()).to(value)

    return _pytree.tree_map(changed, inputs)
