"""What is kept of a trace so that it can be asked why: which operator tied what, and what flowed where.

Nothing is worked out until somebody asks. Then the nodes of one class are laid out as a graph: a node lies on its
tensor, in the outputs that carry it, and at the operators that read these; where an operator unites two nodes, the
way changes from one to the other. So every way through the graph is a reason that these places are cut together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .coupling import Classes
from .flow import REARRANGES
from .labels import Array, Block
from .ledger import Consumer, Ledger, Operator, Partial, Split


class Spot(NamedTuple):
    """Where a node lies: ``of`` its tensor (operator −1), ``at`` an operator, or in what one put ``out``."""

    kind: str
    operator: int
    node: int


@dataclass
class Evidence:
    """Facts of one trace and what became of them. It refers to their arrays and copies none.

    Attributes:
        places: name of each axis.
        facts: the ledger, as far as it is asked later.
        alike, ties: what was united beyond the ledger's unions: sizes that several layers share, and rectangles.
        root, reason, cause: of each node its class; why a class is fixed; what fixed it (see ``Classes``).
        nodes: the atom of each node, −1 for none.
        parameters: which tensors are no buffers.
    """

    places: Sequence[str]
    facts: Ledger
    alike: Sequence[tuple[Array, Array]]
    ties: Sequence[tuple[Array, Array, Split | Partial]]
    root: Array
    reason: dict[int, str]
    cause: dict[int, int | Partial | Consumer]
    nodes: Array
    parameters: frozenset[str]

    @classmethod
    def of(
        cls, places: Sequence[str], parameters: frozenset[str], ledger: Ledger, classes: Classes, nodes: Array
    ) -> Evidence:
        facts = replace(
            ledger,
            history=[],
            products=[],
            producers=[],
            consumers=[],
            sizes=[],
            loose=[],
            others=[],
            inputs=None,
            flow=None,
        )
        united = classes.alike, classes.ties
        return cls(places, facts, *united, classes.root, classes.reason, classes.cause, nodes, parameters)

    @property
    def operators(self) -> list[Operator]:
        return self.facts.operators

    @cached_property
    def origin(self) -> dict[str, int]:
        """Tensor → its number as an input of operators."""
        return {name: -1 - number for number, name in enumerate(self.facts.tensors)}

    @cached_property
    def users(self) -> dict[int, list[int]]:
        """Operator or tensor → the operators that read what it holds."""
        found: dict[int, list[int]] = {}
        for operator, inputs in enumerate(self.facts.inputs_of):
            for origin in inputs:
                found.setdefault(origin, []).append(operator)
        return found

    @cached_property
    def _starts(self) -> Array:
        return np.array([a.start for a in self.facts.axes], dtype=np.int64)

    def axis_of(self, node: int) -> int | None:
        """Number of the axis that a node lies on; None for one that belongs to no tensor."""
        number = int(np.searchsorted(self._starts, node, side="right")) - 1
        inside = number >= 0 and node < self.facts.axes[number].start + self.facts.axes[number].size
        return number if inside else None

    def tensor_of(self, node: int) -> int | None:
        axis = self.axis_of(node)
        return None if axis is None else self.origin[self.facts.axes[axis].tensor]

    def blocks(self, operator: int) -> Iterator[Block]:
        """What an operator's outputs carry."""
        for label in self.facts.results.get(operator, ()):
            yield from label.blocks if label is not None else ()

    def _doers(self, kind: str, count: int) -> Array:
        """The operators that noted the first facts of a kind: the last that had begun before each was there."""
        begun = [getattr(o, kind) for o in self.operators]
        return np.searchsorted(begun, np.arange(count), side="right") - 1

    @cached_property
    def united(self) -> list[tuple[int, Array, Array]]:
        """All that was united, and by which operator; −1 is a size that several layers share."""
        facts = self.facts
        doers = self._doers("unions", len(facts.unions)).tolist()
        found = [(o, left, right) for o, (left, right) in zip(doers, facts.unions)]
        found += [(-1, left, right) for left, right in self.alike]
        return found + [(self._seen(cause), left, right) for left, right, cause in self.ties]

    def _seen(self, fact: Split | Partial) -> int:
        """The operator that noted a split or a partial."""
        kind, held = ("splits", self.facts.splits) if isinstance(fact, Split) else ("partials", self.facts.partials)
        return int(self._doers(kind, len(held))[next(n for n, other in enumerate(held) if other is fact)])

    def fixed_by(self, root: int) -> tuple[int, Array] | None:
        """The operator that fixed a class, and the nodes that it fixed; None where no operator did."""
        facts, cause = self.facts, self.cause.get(root)
        if isinstance(cause, int):
            late = cause - facts.valued
            if late >= 0:
                doer = int(self._doers("freezes", late + 1)[late])
            else:
                doer = [o for o, _, _ in facts.value_freezes if o in facts.live][cause]
            return doer, facts.freezes[cause][0]
        if isinstance(cause, Partial):
            ids = cause.joint if cause.sub is None else np.concatenate([cause.joint.ravel(), cause.sub.ravel()])
            return self._seen(cause), ids
        if isinstance(cause, Consumer):
            return next(o for o, consumer in facts.value_consumers if consumer is cause), cause.ids
        return None


class Graph:
    """Where the nodes of one class lie and what ties them.

    Args:
        jumps: let ties start at a tensor whose values do not reach the operator as far as labels tell.
    """

    def __init__(self, evidence: Evidence, root: int, jumps: bool = False) -> None:
        self.evidence = evidence
        self._mine = evidence.root == root
        self._jumps = jumps
        self.nodes = [int(n) for n in np.flatnonzero(self._mine)]
        self._carried = {o: found for o in evidence.facts.results if (found := self._carries(o))}
        self._tied: dict[int, dict[int, list[int]]] = {}
        for operator, left, right in evidence.united:
            self._note(operator, left, right)
        self._joining = {n: [o for o, held in self._tied.items() if n in held] for n in self.nodes} if jumps else {}

    def _carries(self, operator: int) -> set[int]:
        found: set[int] = set()
        for block in self.evidence.blocks(operator):
            found.update(block.ids[self._mine[block.ids]].tolist())
        return found

    def _note(self, operator: int, left: Array, right: Array) -> None:
        if not self._mine[left].any():
            return
        left, right = np.broadcast_arrays(left, right)
        mine = self._mine[left]
        tied = self._tied.setdefault(operator, {})
        for a, b in set(zip(left[mine].tolist(), right[mine].tolist())):
            if a != b:
                tied.setdefault(a, []).append(b)
                tied.setdefault(b, []).append(a)

    def on(self, axis: int) -> list[int]:
        """The nodes of the class that lie on an axis."""
        a = self.evidence.facts.axes[axis]
        return [int(n) for n in a.start + np.flatnonzero(self._mine[a.start : a.start + a.size])]

    def beside(self, spot: Spot) -> Iterator[Spot]:
        """Spots one move away."""
        e, node, operator = self.evidence, spot.node, spot.operator
        if spot.kind == "of":
            tensor = e.tensor_of(node)
            users = e.users.get(tensor, []) if tensor is not None else []
            yield from (Spot("at", q, node) for q in [*users, *self._joining.get(node, ())] if q >= 0)
            yield from (Spot("of", -1, other) for other in self._tied.get(-1, {}).get(node, ()))
        elif spot.kind == "out":
            yield Spot("at", operator, node)
            yield from (Spot("at", q, node) for q in e.users.get(operator, ()))
        else:
            inputs = e.facts.inputs_of[operator]
            tied = self._tied.get(operator, {}).get(node, ())
            if e.tensor_of(node) in inputs or (tied and self._jumps and e.axis_of(node) is not None):
                yield Spot("of", -1, node)
            if node in self._carried.get(operator, ()):
                yield Spot("out", operator, node)
            yield from (Spot("out", o, node) for o in sorted(inputs) if node in self._carried.get(o, ()))
            yield from (Spot("at", operator, other) for other in tied)
            yield from (Spot("at", q, node) for q in self._joining.get(node, ()) if q >= 0)

    def ways(self, sources: Iterable[int]) -> dict[Spot, Spot | None]:
        """Breadth first from nodes on their tensors: each spot that is reached, and the one before it."""
        before: dict[Spot, Spot | None] = {Spot("of", -1, node): None for node in sources}
        queue = deque(before)
        while queue:
            spot = queue.popleft()
            for other in self.beside(spot):
                if other not in before:
                    before[other] = spot
                    queue.append(other)
        return before

    def idle(self, spot: Spot) -> bool:
        """Does its operator only move other axes about?"""
        e, node = self.evidence, spot.node
        out = self._block(spot.operator, node)
        if out is None or e.operators[spot.operator].name.partition("::")[2] not in REARRANGES:
            return False
        inputs = e.facts.inputs_of[spot.operator]
        held = [b.ids for o in inputs if (b := self._block(o, node)) is not None]
        number = e.axis_of(node)
        if number is not None and e.tensor_of(node) in inputs:
            axis = e.facts.axes[number]
            held.append(np.arange(axis.start, axis.start + axis.size))
        return any(np.array_equal(ids, out.ids) for ids in held)

    def loud(self, spot: Spot) -> bool:
        """Is a value here other than zero even where all that silences the node is zero?"""
        block = self._block(spot.operator, spot.node)
        return block is not None and bool(block.data[1][block.ids == spot.node].any())

    def _block(self, operator: int, node: int) -> Block | None:
        return next((b for b in self.evidence.blocks(operator) if (b.ids == node).any()), None)


def way_to(before: dict[Spot, Spot | None], targets: Iterable[Spot]) -> list[Spot]:
    """The shortest way to any of the targets, from its source on; empty where none is reached."""
    best: list[Spot] = []
    for target in targets:
        way: list[Spot] = []
        spot: Spot | None = target if target in before else None
        while spot is not None and (not best or len(way) < len(best)):
            way.append(spot)
            spot = before[spot]
        if way and spot is None and (not best or len(way) < len(best)):
            best = way
    return best[::-1]
