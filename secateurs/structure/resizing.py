"""Code that writes sizes down, run at other sizes.

``B, N, C = x.shape; … y.reshape(B, N, C)``: much code takes a width inside a module from what comes in, or has
it as a number in its source. No attribute holds such a size, so none can be set for the code to follow a cut.
So the trace notes which sizes that a module's code gives (of views, pieces, slices) count what; after a cut, a
stand-in of the module's class runs the same code and scales them on their way to PyTorch. Nothing else of the code
changes: factors it takes from those sizes, such as 1/√(C/heads), remain those of the network that was trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache, wraps
from typing import Any

import numpy as np
from torch import nn
from torch.overrides import TorchFunctionMode

from .explicit import Count, Request, request
from .labels import Array
from .ledger import Asked
from .rules.call import period
from .types import Resize

UNSEEN = "this network was cut; if its trace did not run this code, trace it with also=[inputs that lead here]"

# The form and number of a call, the position of a size in it, what it counted, what is left.
Row = tuple[str, int, int, int]


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
            if sizes[position] != -1 and sizes[position] % before == 0:
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
