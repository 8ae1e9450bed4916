"""Code that writes sizes down, run at other sizes.

``B, N, C = x.shape; … y.reshape(B, N, C)``: much code takes a width inside a module from what comes in, or has
it as a number in its source. No attribute holds such a size, so none can be set for the code to follow a cut.
Therefore the calls in which a module gives sizes (view, reshape, expand, unflatten, split) are told apart by their
form, and those of one form by their order. The trace notes which of these sizes count what; after a cut, a stand-in
of the module's class runs the same code and scales them on their way to PyTorch. Nothing else of the code changes:
factors it takes from those sizes, such as 1/√(C/heads), remain those of the network that was trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .labels import Array
from .ledger import Asked
from .rules.call import period
from .types import Resize

SHAPES = (Tensor.view, Tensor.reshape, torch.reshape, Tensor.expand, Tensor.broadcast_to, torch.broadcast_to)
UNFLATTENS = (Tensor.unflatten, torch.unflatten)
SPLITS = (Tensor.split, torch.split, Tensor.split_with_sizes, torch.split_with_sizes)
SIZED = {function: function.__name__ for function in (*SHAPES, *UNFLATTENS, *SPLITS)}
UNSEEN = "the network was cut, and its trace did not run this code: trace it with also=[inputs that lead here]"

# The form and number of a call, the position of a size in it, what it counted, what is left.
Row = tuple[str, int, int, int]


@dataclass(frozen=True)
class Request:
    """A call with explicit sizes.

    Attributes:
        form: the function and which sizes it is left to find, such as ``view(*, -1)``.
        sizes: as the code gives them.
        dim: what the first of them sizes; with ``pieces`` they are the lengths of pieces along it.
        again: makes the call with other sizes.
    """

    form: str
    sizes: list[Any]
    dim: int
    pieces: bool
    again: Callable[[list[Any]], Any]

    def places(self, out: Any) -> Iterator[tuple[int, Tensor, int]]:
        """For each size that is not left open: its position, a tensor that has it, and along which dimension."""
        for position, size in enumerate(self.sizes):
            tensor, dim = (out[position], self.dim) if self.pieces else (out, self.dim + position)
            if dim < tensor.dim() and tensor.shape[dim] == size:
                yield position, tensor, dim


def request(func: Any, args: Any, kwargs: dict[str, Any]) -> Request | None:
    """A call of PyTorch, if it is one with explicit sizes."""
    if func not in SIZED or not args or not isinstance(args[0], Tensor):
        return None
    x = args[0]
    if func in SHAPES:
        rest = (*args[1:], *kwargs.values())
        sizes = list(rest[0]) if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else list(rest)
        if any(isinstance(s, torch.dtype) for s in sizes):
            return None  # a view as another type
        return Request(_form(func, sizes), sizes, 0, False, lambda new: func(x, tuple(new)))
    named = dict(zip(("dim", "sizes") if func in UNFLATTENS else ("sizes", "dim"), args[1:])) | kwargs
    dim = named.pop("dim", 0)
    if not isinstance(dim, int):
        return None  # a dimension's name
    dim %= x.dim()
    (given,) = named.values()
    sizes = list(given) if isinstance(given, (tuple, list)) else [given]
    if func in UNFLATTENS:
        return Request(_form(func, sizes), sizes, dim, False, lambda new: func(x, dim, tuple(new)))
    if isinstance(given, (tuple, list)):
        return Request(_form(func, sizes), sizes, dim, True, lambda new: func(x, list(new), dim))
    return Request(_form(func, sizes), sizes, dim, True, lambda new: func(x, new[0], dim))


def _form(func: Any, sizes: list[Any]) -> str:
    return f"{SIZED[func]}({', '.join('-1' if type(s) is int and s == -1 else '*' for s in sizes)})"


class Count(dict[str, int]):
    """Numbers the calls of each form."""

    def __call__(self, form: str) -> str:
        number = self[form] = self.get(form, 0) + 1
        return f"{form} {number}"


class Watching(TorchFunctionMode):
    """Tells ``seen(request, out)`` of every call with explicit sizes."""

    def __init__(self, seen: Callable[[Request, Any], None]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        asked = request(func, args, kwargs)
        if asked is not None:
            self._seen(asked, out)
        return out


class Resizing(TorchFunctionMode):
    """Scales sizes of the calls that a module's code makes."""

    def __init__(self, rows: Iterable[Row]) -> None:
        super().__init__()
        self._count = Count()
        self._changes: dict[str, list[tuple[int, int, int]]] = {}
        for call, position, before, after in rows:
            self._changes.setdefault(call, []).append((position, before, after))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        asked = request(func, args, kwargs)
        if asked is None:
            return func(*args, **kwargs)
        changes = self._changes.get(self._count(asked.form), ())
        sizes = asked.sizes
        for position, before, after in changes:
            # A size that is open, or followed the cut by itself, stays; heads in the batch are a multiple.
            if position < len(sizes) and sizes[position] > 0 and sizes[position] % before == 0:
                sizes[position] = sizes[position] // before * after
        try:
            return asked.again(sizes) if changes else func(*args, **kwargs)
        except RuntimeError as error:
            raise RuntimeError(f"{error} ({UNSEEN})") from error


class Resized:
    """Mixed into a module's class: the same code at the sizes that a cut left.

    Attributes:
        resized: the changes, as rows of form and number of a call, position, size before, size after.
    """

    resized: list[Row]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made where it is needed, so a pickle names the one that it was made from.
        return _blank, (type(self).__bases__[1],), super().__reduce_ex__(2)[2]


@cache
def stand_in(original: Any) -> Any:
    """The class that takes over from ``original``; a subclass of it."""

    @wraps(original.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with Resizing(self.resized):
            return original.forward(self, *args, **kwargs)

    members = {"forward": forward, "__module__": __name__, "__doc__": original.__doc__}
    return type(f"Resized{original.__name__}", (Resized, original), members)


def _blank(original: Any) -> Any:
    made = stand_in(original)
    return made.__new__(made)


def resize(module: nn.Module, rows: Iterable[Row]) -> None:
    """Let a module's code run at other sizes, in place."""
    if not isinstance(module, Resized):
        original: Any = type(module)
        module.__class__ = stand_in(original)
        module.resized = []  # type: ignore[assignment]
    module.resized = merged(module.resized, rows)  # type: ignore[assignment,arg-type]


def merged(first: Iterable[Row], then: Iterable[Row]) -> list[Row]:
    """Changes followed by changes on what they leave, as one."""
    rows = {(call, position): (before, after) for call, position, before, after in first}
    for call, position, before, after in then:
        held = rows.get((call, position))
        if held is not None:
            both = math.lcm(held[1], before)
            before, after = held[0] * (both // held[1]), after * (both // before)
        rows[call, position] = before, after
    return [(*place, *change) for place, change in sorted(rows.items())]


def resizes(asked: Iterable[Asked], atom_of: Array, paths: set[str]) -> list[Resize]:
    """The sizes in the code of these modules that follow a cut."""
    found: dict[tuple[str, str, int], Array] = {}
    unclear: set[tuple[str, str, int]] = set()
    for fact in asked:
        if fact.path not in paths:
            continue
        atoms = atom_of[fact.ids]
        # Where the cut runs along another axis of a joint one, this axis keeps its length.
        ids = period(atoms[:, 0]) if (atoms == atoms[:, :1]).all() else np.full(1, -1)
        place = (fact.path, fact.call, fact.position)
        if not np.array_equal(found.setdefault(place, ids), ids):
            unclear.add(place)  # called twice, with different things
    return [Resize(*place, ids) for place, ids in found.items() if place not in unclear and (ids >= 0).any()]
