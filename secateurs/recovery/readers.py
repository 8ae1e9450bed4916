"""Readers: the linear maps and convolutions of a network that was cut, beside themselves in the network before.

A reader is given what is left of its inputs, and what it should return is known: what it returned before. So nearly
every repair without training is a small least-squares problem at one reader, and the readers are taken in the order in
which they run. The data are read once for each, and both networks are run up to it, no further.

A weight that several modules share is one reader, called several times; so is a module that is called several times.
Not readers, and left as they are: transposed convolutions, weights that are computed (weight norm) or used otherwise
too (an embedding's), modules whose ``forward`` is not PyTorch's, attention that does not call its projections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ..errors import DataError, StructureError
from ..signals.patches import Linear, as_rows, channel_axis, is_linear, positions
from ..structure.copying import duplicate, named_tensors
from ..zoo.splits import Batch
from .base import Removal, again
from .running import run, still

FEW = 4  # examples that show whether anything has changed


@dataclass(frozen=True, eq=False)
class Reader:
    """One weight, and where it is used.

    Attributes:
        name: path of the module that is called first.
        pairs: modules that use the weight, each → itself in the network before.
        calls: of them all, in one run of the network.
        inputs, outputs: indices that stayed along the second and first axis of the weight; None: all.
        mask: entries of the weight that stay; None: all.
        biased: whether there is a bias that may be changed.
        positions: in one batch.
    """

    name: str
    pairs: dict[Linear, Linear]
    calls: int
    inputs: Tensor | None
    outputs: Tensor | None
    mask: Tensor | None
    biased: bool
    positions: int

    @property
    def module(self) -> Linear:
        return next(iter(self.pairs))

    @property
    def origin(self) -> Linear:
        return self.pairs[self.module]

    @property
    def lost(self) -> bool:
        """Whether the weight lost inputs, or single entries."""
        return self.inputs is not None or (self.mask is not None and not bool(self.mask.all()))

    @property
    def keep(self) -> Tensor | None:
        """The mask as ``(groups, outputs, inputs)``."""
        return None if self.mask is None else as_rows(self.module, self.mask)

    def change(self, weight: Tensor, shift: Tensor | None = None) -> None:
        """Add to the weight, of whatever shape, and to the bias ``(outputs,)``; masked entries stay zero."""
        held = self.module.weight
        weight = weight.reshape(held.shape)
        held.copy_(held.double() + (weight if self.mask is None else weight * self.mask))
        if shift is not None and self.biased:
            bias = cast(Tensor, self.module.bias)
            bias.copy_(bias.double() + shift.flatten())


@dataclass(frozen=True)
class Call:
    """One call of a reader.

    Attributes:
        module: which of the reader's. x, y: what it was given and returned in the network that is repaired.
        before: what it returned in the network before, of the outputs that are still there.
    """

    module: Linear
    x: Tensor
    y: Tensor
    before: Tensor


class Pair:
    """A copy of the network that was cut, to be repaired, and the network before, over the same data.

    Attributes:
        repaired: the copy. readers: in the order in which they run. examples: in the data.
    """

    def __init__(self, model: nn.Module, removal: Removal, data: Iterable[Batch]) -> None:
        self.repaired = duplicate(model)
        self.before, self.data = removal.before, again(data)
        sizes = [len(x) for x, _ in self.data]
        if not sum(sizes):
            raise DataError("a repair from data needs some, and there is no batch; a few hundred examples will do")
        self.examples = sum(sizes)
        self._first, self._removal = sizes[0], removal
        self.readers: list[Reader] = []

    def share(self, reader: Reader, rows: int) -> float:
        """Which share of a reader's positions is about ``rows`` in all of the data."""
        return min(1.0, rows / (reader.positions * self.examples / self._first))

    def calls(self, reader: Reader) -> Iterator[Call]:
        """Its calls over all the data. Those that differ in positions (a router chose otherwise) are passed over."""
        for x, _ in self.data:
            yield from self._calls(reader, x)

    def _calls(self, reader: Reader, x: Tensor) -> Iterator[Call]:
        mine = _seen(self.repaired, x, reader.pairs, reader.calls)
        theirs = _seen(self.before, x, reader.pairs.values(), reader.calls)
        for (module, given, out), (_, _, was) in zip(mine, theirs):
            if reader.outputs is not None:
                was = was.index_select(channel_axis(module), reader.outputs)
            if was.shape == out.shape:
                yield Call(module, given, out, was)

    def changed(self, reader: Reader) -> bool:
        """Whether what it returns on the first examples is not, rounding aside, what it was. What is not finite is
        never what it was, so that whoever mends it says so."""
        few = next(iter(self.data))[0][:FEW]
        return any(
            not bool(((call.y - call.before).abs() <= 4 * torch.finfo(call.y.dtype).eps * _largest(call)).all())
            for call in self._calls(reader, few)
        )

    def look_before(self, readers: Iterable[Reader], look: Callable[[Reader, Linear, Tensor, Tensor], None]) -> None:
        """Show what readers are given and return in the network before, over all the data: ``look(reader, its module
        there, x, y)``."""
        readers = list(readers)
        owners = {origin: reader for reader in readers for origin in reader.pairs.values()}
        watch = {m: lambda m, x, y: look(owners[m], m, x, y) for m in owners}
        for x, _ in self.data:
            run(self.before, x, watch, sum(reader.calls for reader in readers))  # type: ignore[arg-type]


@contextmanager
def paired(model: nn.Module, removal: Removal, data: Iterable[Batch]) -> Iterator[Pair]:
    """Both networks in evaluation mode, the readers found; modes and buffers are put back afterwards.

    Raises:
        DataError: there is no batch, or the data can be read only once.
        StructureError: the removal is not what leads from the network before to this one.
    """
    pair = Pair(model, removal, data)
    with still(pair.repaired, pair.before), torch.no_grad():
        pair.readers = _find(pair)
        yield pair


def within(memory: int, readers: Iterable[Reader], size: Callable[[Reader], int]) -> Iterator[list[Reader]]:
    """As many readers at a time as fit into ``memory`` bytes, at least one."""
    some: list[Reader] = []
    held = 0
    for reader in readers:
        if some and held + size(reader) > memory:
            yield some
            some, held = [], 0
        some.append(reader)
        held += size(reader)
    if some:
        yield some


def require_finite(reader: Reader, finite: bool) -> None:
    """Raises: DataError, naming the reader."""
    if not finite:
        raise DataError(
            f"{reader.name!r} is given, or returns, values that are not finite (NaN or infinite) on the calibration "
            "data; look for them in the data, or in the network before the cut"
        )


def _largest(call: Call) -> float:
    return float(call.before.abs().max()) if call.before.numel() else 0.0


def _seen(model: nn.Module, x: Tensor, modules: Iterable[Linear], calls: int) -> list[tuple[Linear, Tensor, Tensor]]:
    """What modules are given and return. If more is to come it is copied: it might be overwritten in place."""
    found: list[tuple[Linear, Tensor, Tensor]] = []

    def look(module: nn.Module, given: Tensor, out: Tensor) -> None:
        found.append((cast(Linear, module), *((given, out) if calls == 1 else (given.clone(), out.clone()))))

    run(model, x, dict.fromkeys(modules, look), calls)
    return found


def _find(pair: Pair) -> list[Reader]:
    """The readers, by one run on the first batch."""
    paths = {m: path for path, m in pair.repaired.named_modules()}
    olds = dict(pair.before.named_modules(remove_duplicate=False))
    order: dict[Linear, list[int]] = {}

    def look(module: nn.Module, _: Tensor, out: Tensor) -> None:
        order.setdefault(cast(Linear, module), []).append(positions(cast(Linear, module), out))

    candidates = [m for m, path in paths.items() if is_linear(m) and _is_same(m, olds.get(path))]
    run(pair.repaired, next(iter(pair.data))[0], dict.fromkeys(candidates, look))
    users: dict[int, list[nn.Module]] = {}
    for module in paths:
        for parameter in module._parameters.values():
            if parameter is not None:
                users.setdefault(id(parameter), []).append(module)
    found, taken = [], set()
    for module in order:
        sharing = users[id(module.weight)]
        if module in taken or not all(m in order and m.bias is module.bias for m in sharing):
            continue
        if module.bias is not None and len(users[id(module.bias)]) != len(sharing):
            continue
        taken.update(sharing)
        uses = [m for m in order if m in sharing]
        found.append(_reader(pair, {m: cast(Linear, olds[paths[m]]) for m in uses}, paths, order))
    return found


def _is_same(module: nn.Module, other: nn.Module | None) -> bool:
    return other is not None and type(other) is type(module) and is_linear(other)


def _reader(
    pair: Pair, pairs: dict[Linear, Linear], paths: dict[nn.Module, str], order: dict[Linear, list[int]]
) -> Reader:
    removal = pair._removal
    module, origin = next(iter(pairs.items()))
    held = {id(t): name for name, t in named_tensors(pair.before)}
    weight, bias = held[id(origin.weight)], module.bias
    device = module.weight.device
    outputs, inputs = (removal.indices(weight, axis) for axis in (0, 1))
    left = [len(kept) if kept is not None else n for kept, n in zip((outputs, inputs), origin.weight.shape)]
    if left != list(module.weight.shape[:2]) or origin.weight.shape[2:] != module.weight.shape[2:]:
        raise StructureError(
            f"the removal leaves {left[0]} × {left[1]} of {weight!r}, but here it has shape "
            f"{tuple(module.weight.shape)}; give the surgery that led from the network before to this one"
        )
    named = dict(pair.repaired.named_parameters(remove_duplicate=False))
    masks = {id(named[name]): mask for name, mask in (removal.masks or {}).items() if name in named}
    mask, bias_mask = masks.get(id(module.weight)), masks.get(id(bias))
    return Reader(
        name=paths[module],
        pairs=pairs,
        calls=sum(len(order[m]) for m in pairs),
        inputs=None if inputs is None else inputs.to(device),
        outputs=None if outputs is None else outputs.to(device),
        mask=None if mask is None else mask.to(device, torch.bool),
        biased=bias is not None and (bias_mask is None or bool(bias_mask.all())),
        positions=sum(sum(order[m]) for m in pairs),
    )
