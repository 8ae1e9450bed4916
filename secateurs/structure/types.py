"""What a traced structure is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from ..errors import StructureError
from .bypass import Wiring
from .naming import inside

if TYPE_CHECKING:
    from .evidence import Evidence
    from .why import Why

Array = np.ndarray


@dataclass(frozen=True)
class Family:
    """Atoms that touch exactly the same tensor axes: the groups of one layer.

    Attributes:
        name: module path of the first layer that produces them.
        kind: "channel", "head" or "block".
        atoms: their indices.
        members: the places that are cut together, such as ``layer1.0.conv1.weight[out]``; of blocks, their modules.
        minimum: how many must stay.
    """

    name: str
    kind: str
    atoms: Array
    members: list[str]
    minimum: int = 1


@dataclass(frozen=True)
class Gate:
    """Slices of one parameter along ``axis``: zeroing those of an atom (in all its gates) silences it."""

    axis: int
    ids: Array


@dataclass(frozen=True)
class Frozen:
    """An axis, or ``size`` of its indices, that cannot be cut, and why; or a module that is no block."""

    where: str
    size: int
    reason: str
    kind: str = "axis"


@dataclass(frozen=True)
class Term:
    """coefficient × Π (number of kept indices); ids of −1 are always kept."""

    coefficient: float
    axes: tuple[Array, ...]

    def amount(self, widths: Sequence[float]) -> float:
        """At these numbers of kept indices."""
        return self.coefficient * math.prod(widths)

    def over(self, part: Callable[[Array], Array]) -> Term:
        """The same over part of each axis."""
        return replace(self, axes=tuple(map(part, self.axes)))

    def with_block(self, atom: int) -> Term:
        """The same, as often as a block is there: once or not at all."""
        return replace(self, axes=(*self.axes, np.array([atom])))


@dataclass(frozen=True)
class Table:
    """An amount measured at some widths and taken to be linear in between; beyond the last, the last.

    Attributes:
        axes: as of a :class:`Term`.
        grid: for each axis the widths, ascending.
        values: the amounts, one dimension for each axis.
    """

    axes: tuple[Array, ...]
    grid: tuple[Array, ...]
    values: Array

    def amount(self, widths: Sequence[float]) -> float:
        """At these numbers of kept indices."""
        values = self.values
        for points, width in zip(self.grid, widths):
            flat = values.reshape(len(points), -1).T
            values = np.array([np.interp(width, points, row) for row in flat]).reshape(values.shape[1:])
        return float(values)

    def over(self, part: Callable[[Array], Array]) -> Table:
        """The same over part of each axis."""
        return replace(self, axes=tuple(map(part, self.axes)))

    def with_block(self, atom: int) -> Table:
        """The same, as often as a block is there: once or not at all."""
        axes, grid = (*self.axes, np.array([atom])), (*self.grid, np.array([0.0, 1.0]))
        return Table(axes, grid, np.stack([np.zeros_like(self.values), self.values], -1))


Cost: TypeAlias = Term | Table


@dataclass(frozen=True)
class Attribute:
    """A number on a module that counts ``ids``: after a cut it is set to how many are kept."""

    path: str
    name: str
    index: int | None
    ids: Array


@dataclass(frozen=True)
class Swap:
    """A module whose class is replaced by the registered ``target`` once any of ``ids`` is cut."""

    path: str
    target: str
    ids: Array


@dataclass(frozen=True)
class Resize:
    """Size ``position`` in a module's ``call`` with explicit sizes counts ``ids``: ``once``, or for each example."""

    path: str
    call: str
    position: int
    ids: Array
    once: bool


@dataclass(frozen=True)
class Bypass:
    """A module that hands its input on, as ``wiring`` says, once ``atom`` is cut."""

    path: str
    atom: int
    wiring: Wiring


@dataclass(frozen=True)
class Run:
    """A further run that the trace made: its inputs and mode, whether on fake tensors, and the outputs' shapes."""

    inputs: Any
    training: bool
    faked: bool
    shapes: list[tuple[int, ...]]


@dataclass
class Structure:
    """What can be removed from a model, what goes with it, and what it costs.

    Attributes:
        atoms: number of removable classes.
        axes: (tensor, axis) → atom per index, −1 where fixed; parameters and buffers.
        families: atoms by layer; ``family_of`` maps back.
        gates: parameter → slices whose zeroing silences atoms exactly.
        frozen: what cannot be cut and why.
        terms: "params", "macs", "bytes" as sums of products of widths. MACs are of one example. Whoever has measured
            what else widths cost adds it ("latency", in milliseconds).
        shared: alias names of tied tensors → canonical.
        attributes, swaps, resizes, bypasses: what changes on modules with a cut; ``shapes`` of all tensors as traced;
            ``inputs``: the example inputs of the trace, for the check that ``shrink`` makes;
            ``runs``: further ones that it made, in training mode or on other inputs;
            ``evidence``: what the trace saw, for ``why``.
    """

    atoms: int
    axes: dict[tuple[str, int], Array]
    families: list[Family]
    family_of: Array
    gates: dict[str, list[Gate]]
    frozen: list[Frozen]
    terms: dict[str, list[Cost]]
    shared: dict[str, str]
    attributes: list[Attribute] = field(default_factory=list)
    swaps: list[Swap] = field(default_factory=list)
    resizes: list[Resize] = field(default_factory=list)
    bypasses: list[Bypass] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: Any = field(default=None, repr=False)
    runs: list[Run] = field(default_factory=list, repr=False, compare=False)
    evidence: Evidence | None = field(default=None, repr=False, compare=False)

    def mask(self, keep: torch.Tensor | Array | None) -> Array:
        """Check a keep mask and return it as booleans of shape (atoms,).

        Raises:
            StructureError: wrong length or type.
        """
        if keep is None:
            return np.ones(self.atoms, dtype=bool)
        array = keep.detach().cpu().numpy() if isinstance(keep, torch.Tensor) else np.asarray(keep)
        if array.dtype != np.bool_ or array.shape != (self.atoms,):
            raise StructureError(
                f"keep has dtype {array.dtype} and shape {array.shape}; "
                f"it must be boolean, one entry for each of the {self.atoms} atoms"
            )
        return array

    def amount(self, resource: str, keep: torch.Tensor | Array | None = None) -> float:
        """How much of "params", "macs" (one example) or "bytes" the kept network uses.

        Raises:
            StructureError: unknown resource or a mask of the wrong form.
        """
        if resource not in self.terms:
            raise StructureError(f"no terms for resource {resource!r}; known: {', '.join(sorted(self.terms))}")
        alive = np.append(self.mask(keep), True)  # index −1 reads the last entry: always kept
        total = 0.0
        for term in self.terms[resource]:
            total += term.amount([int(alive[ids].sum()) for ids in term.axes])
        return total

    def family(self, name: str) -> Family:
        """Raises: StructureError with the known names."""
        for family in self.families:
            if family.name == name:
                return family
        known = ", ".join(f.name for f in self.families) or "none"
        raise StructureError(f"no family {name!r}; known: {known}")

    def explain(self, where: str) -> str:
        """Why an axis is as it is: what it is cut together with, or the reason it is fixed.

        Args:
            where: a family, a module path, a tensor, or an axis such as ``conv1.weight[out]``.
        """
        lines = []
        for family in self.families:
            if family.name == where or any(inside(m, where) for m in family.members):
                how = "each cut whole" if family.kind == "block" else "cut together in"
                lines.append(f"{family.name}: {len(family.atoms)} {family.kind}s, {how}")
                lines += [f"  {m}" for m in family.members]
        for frozen in self.frozen:
            if inside(frozen.where, where):
                what = "no block" if frozen.kind == "block" else f"{frozen.size} fixed"
                lines.append(f"{frozen.where}: {what}: {frozen.reason}")
        return "\n".join(lines) or f"nothing is known about {where!r}"

    def why(self, where: str) -> Why:
        """The chain of operators that ties a place to what it is cut together with, or to what fixes it.

        Args:
            where: a module path, a tensor, an axis such as ``conv1.weight[out]``, or a family.

        Raises:
            StructureError: nothing is called that (the message gives the nearest names), or this structure was computed
                by ``restrict``, not traced.
        """
        from .why import why

        return why(self, where)

    def restrict(self, keep: torch.Tensor | Array) -> Structure:
        """The structure of the network that ``shrink`` leaves, without tracing it again.

        Atom k of the result is the k-th kept atom of this one.
        """
        from .restrict import restrict

        return restrict(self, self.mask(keep))
