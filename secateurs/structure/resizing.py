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
from .naming import inside
from .rules.call import period
from .types import Resize

UNSEEN = "this network was cut; if its trace did not run this code, trace it with also=[inputs that lead here]"

# The form and number of a call, the position of a size in it, and the size that is due: ``after``, whatever the code
# says; or, where a number of examples is in it, ``after`` for each ``before``.
Row = tuple[str, int, int | None, int]


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
        self._changes: dict[str, list[tuple[int, int | None, int]]] = {}
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
            size = sizes[position]
            if before is None:
                sizes[position] = size if size == -1 else after if size > 0 else -after
            elif size % before == 0:
                sizes[position] = size // before * after
        try:
            return asked.again(sizes) if changes else func(*args, **kwargs)
        except RuntimeError as error:
            raise RuntimeError(f"{error} ({UNSEEN})") from error


class Resized:
    """Mixed into a module's class: the same code at the sizes that a cut left.

    Attributes:
        resized: the changes, as rows of form and number of a call, position, before, after.
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
        if held is not None and held[0] is not None and before is not None:
            both = math.lcm(held[1], before)
            before, after = held[0] * (both // held[1]), after * (both // before)
        rows[call, position] = before, after
    return [(*place, *change) for place, change in sorted(rows.items())]


def resizes(asked: Iterable[Asked], atom_of: Array, paths: set[str]) -> list[Resize]:
    """The sizes in the code of these modules that follow a cut."""
    found: dict[tuple[str, str, int], Resize] = {}
    unclear: set[tuple[str, str, int]] = set()
    for fact in asked:
        if fact.path not in paths:
            continue
        atoms = atom_of[fact.ids]
        # Where the cut runs along another axis of a joint one, this axis keeps its length.
        fixed = not (atoms == atoms[:, :1]).all()
        nodes = np.full(len(atoms), -1) if fixed else atoms[:, 0]
        once = fixed or len(np.unique(fact.ids[:, 0])) == len(atoms)
        place = (fact.path, fact.call, fact.position)
        change = Resize(*place, nodes if once else period(nodes), once)
        held = found.setdefault(place, change)
        if held.once != change.once or not np.array_equal(held.ids, change.ids):
            unclear.add(place)  # called twice, with different things
    return [change for place, change in found.items() if place not in unclear]


def rows_of(changes: Iterable[Resize], alive: Array, cut: Iterable[str]) -> dict[str, list[Row]]:
    """For each module, the sizes that are due when only some atoms are kept and these tensors were cut.

    A module that is cut gets all its sizes, also those that stay: its code may take any from whatever is cut beside it.
    """
    rows: dict[str, list[Row]] = {}
    touched = set()
    for change in changes:
        left = int(alive[change.ids].sum())
        before = None if change.once else len(change.ids)
        rows.setdefault(change.path, []).append((change.call, change.position, before, left))
        if left < len(change.ids) or any(inside(name, change.path) for name in cut):
            touched.add(change.path)
    return {path: found for path, found in rows.items() if path in touched}
