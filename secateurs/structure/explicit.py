"""Calls of PyTorch in which the code gives sizes: of a view, of pieces, of a slice.

Which call is meant, from one run to the next, is told by its form, that is the function and which sizes it is left
to find, and among those of one form by their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SHAPES = (Tensor.view, Tensor.reshape, torch.reshape, Tensor.expand, Tensor.broadcast_to, torch.broadcast_to)
UNFLATTENS = (Tensor.unflatten, torch.unflatten)
SPLITS = (Tensor.split, torch.split, Tensor.split_with_sizes, torch.split_with_sizes)
NARROWS = (Tensor.narrow, torch.narrow)
SLICES = (Tensor.__getitem__,)
SIZED = {function: function.__name__ for function in (*SHAPES, *UNFLATTENS, *SPLITS, *NARROWS, *SLICES)}

# The tensor, the dimension and the stretch of it whose length a size is.
Place = tuple[Tensor, int, slice]
WHOLE = slice(None)


@dataclass(frozen=True)
class Request:
    """A call with explicit sizes.

    Attributes:
        form: the function and which sizes it is left to find, such as ``view(*, -1)``.
        sizes: as the code gives them; negative where it counts from the end.
        measured: what each size measures, by the call's output; None where that is not to be told.
        again: makes the call with other sizes.
    """

    form: str
    sizes: list[Any]
    measured: Callable[[Any], list[Place | None]]
    again: Callable[[list[Any]], Any]

    def places(self, out: Any) -> Iterator[tuple[int, Place]]:
        """For each size that is what it measures, its position and that."""
        for position, (size, place) in enumerate(zip(self.sizes, self.measured(out))):
            if place is not None and place[1] < place[0].dim():
                tensor, dim, part = place
                if len(range(tensor.shape[dim])[part]) == abs(size):
                    yield position, place


def request(func: Any, args: Any, kwargs: dict[str, Any]) -> Request | None:
    """A call of PyTorch, if it is one with explicit sizes."""
    if func not in SIZED or not args or not isinstance(args[0], Tensor):
        return None
    if func in SLICES:
        return _sliced(func, *args)
    if func in SHAPES:
        return _shaped(func, args[0], (*args[1:], *kwargs.values()))
    return _along(func, args[0], args[1:], kwargs)


def _shaped(func: Any, x: Tensor, rest: tuple[Any, ...]) -> Request | None:
    sizes = list(rest[0]) if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else list(rest)
    if any(isinstance(size, torch.dtype) for size in sizes):
        return None  # a view as another type
    return Request(
        _form(func, sizes),
        sizes,
        lambda out: [(out, dim, WHOLE) for dim in range(len(sizes))],
        lambda new: func(x, tuple(new)),
    )


def _along(func: Any, x: Tensor, rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Request | None:
    order = (
        ("dim", "sizes") if func in UNFLATTENS else ("dim", "start", "length") if func in NARROWS else ("sizes", "dim")
    )
    named = dict(zip(order, rest)) | kwargs
    dim = named.pop("dim", 0)
    if not isinstance(dim, int):
        return None  # a dimension's name
    dim %= x.dim()
    if func in NARROWS:
        start, length = named["start"], named["length"]
        measured: list[Place | None] = [(x, dim, slice(0, start)), (x, dim, slice(start, start + length))]
        return Request(
            _form(func, [start, length]), [start, length], lambda _: measured, lambda new: func(x, dim, *new)
        )
    (given,) = named.values()
    several = isinstance(given, (tuple, list))
    sizes = list(given) if several else [given]
    if func in UNFLATTENS:
        return Request(
            _form(func, sizes),
            sizes,
            lambda out: [(out, dim + i, WHOLE) for i in range(len(sizes))],
            lambda new: func(x, dim, tuple(new)),
        )
    return Request(
        _form(func, sizes),
        sizes,
        lambda out: [(out[i], dim, WHOLE) for i in range(len(sizes))],
        lambda new: func(x, new if several else new[0], dim),
    )


def _sliced(func: Any, x: Tensor, index: Any) -> Request | None:
    """Each end of each slice measures what lies before it, or behind it if it counts from there."""
    items = list(index) if isinstance(index, tuple) else [index]
    used = sum(_consumed(item) for item in items)
    sizes: list[int] = []
    measured: list[Place | None] = []
    where: list[tuple[int, str]] = []
    shown = []
    dim = 0
    for number, item in enumerate(items):
        shown.append(type(item).__name__)
        if isinstance(item, slice) and item.step in (None, 1):
            ends = [end for end in ("start", "stop") if type(getattr(item, end)) is int and getattr(item, end)]
            shown[-1] = ":".join("*" if end in ends else "" for end in ("start", "stop"))
            for end in ends:
                size = getattr(item, end)
                sizes.append(size)
                measured.append((x, dim, slice(0, size) if size > 0 else slice(size, None)))
                where.append((number, end))
        dim += x.dim() - used if item is Ellipsis else _consumed(item)
    if not sizes:
        return None

    def again(new: list[int]) -> Tensor:
        changed = list(items)
        for (number, end), size in zip(where, new):
            old = changed[number]
            changed[number] = slice(size, old.stop) if end == "start" else slice(old.start, size)
        return func(x, tuple(changed))

    return Request(f"{SIZED[func]}({', '.join(shown)})", sizes, lambda _: measured, again)


def _consumed(item: Any) -> int:
    """How many dimensions an item of an index is for."""
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    return item.dim() if isinstance(item, Tensor) and item.dtype in (torch.bool, torch.uint8) else 1


def _form(func: Any, sizes: list[Any]) -> str:
    return f"{SIZED[func]}({', '.join('-1' if type(s) is int and s == -1 else '*' for s in sizes)})"


class Count(dict[str, int]):
    """Numbers the calls of each form."""

    def __call__(self, form: str) -> str:
        number = self[form] = self.get(form, 0) + 1
        return f"{form} {number}"
