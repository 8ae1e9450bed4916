"""From recorded facts to atoms: resolve unions, rectangles, silence and sizes into a structure.

Order matters: first everything that certainly lives together, then joint axes (what is cut of (H, D) must
be a rectangle: whole rows where rows are already tied, as heads are, else the same column in each row),
then what is fixed, then what cannot be silenced. What remains are atoms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .labels import Array
from .ledger import Consumer, Ledger, Partial, Split
from .unionfind import UnionFind

RECTANGLE = "is seen as several axes at once, and no whole row or column of them can be cut"
LOUD = "cannot be silenced exactly by zeroing weights"
UNUSED = "its value does not reach the output"


class Classes:
    """Nodes in classes that live and die together, and the reason why some cannot die.

    Attributes:
        root: representative of each node.
        reason: root → why it is fixed.
        gates: atom candidates' silencer nodes: pairs (root, node).
        alike, ties: what is united beyond the ledger's unions; of ties, whence.
        cause: root → what fixed it: the number of a freeze, or the record itself.
    """

    def __init__(
        self,
        ledger: Ledger,
        banned: list[tuple[Array, str]],
        rows: set[int],
        alike: Sequence[tuple[Array, Array]] = (),
    ) -> None:
        self.ledger = ledger
        self._find = UnionFind(ledger.size)
        self._rows = rows
        self._late: list[tuple[Array, str, Partial]] = []
        self.alike = alike
        self.ties: list[tuple[Array, Array, Split | Partial]] = []
        self.cause: dict[int, int | Partial | Consumer] = {}
        self._find.union_all([*ledger.unions, *alike])
        self._rectangles()
        self.root = self._find.find(np.arange(ledger.size))
        self.reason: dict[int, str] = {}
        self.fixed = np.zeros(ledger.size, dtype=bool)
        for number, (ids, reason) in enumerate(ledger.freezes):
            self.fix(ids, reason, number)
        for ids, reason, partial in self._late:
            self.fix(ids, reason, partial)
        for ids, reason in banned:
            self.fix(ids, reason)
        self.head = np.zeros(ledger.size, dtype=bool)
        for ids in ledger.heads:
            self.head[self.root[ids.ravel()]] = True
        self.gates = self._silence()

    def fix(self, ids: Array, reason: str, cause: int | Partial | Consumer | None = None) -> None:
        roots = np.unique(self.root[ids.ravel()])
        for root in roots[~self.fixed[roots]]:
            self.reason[int(root)] = reason
            if cause is not None:
                self.cause[int(root)] = cause
        self.fixed[roots] = True

    # -- joint axes ----------------------------------------------------------------------------------
    def _cut_axes(self, ids: Array) -> list[int]:
        """Axes of a joint array along which classes differ only: the cut can follow one of them."""
        roots = self._find.find(ids)
        found = []
        for axis in range(ids.ndim):
            index = tuple(slice(None) if a == axis else slice(0, 1) for a in range(ids.ndim))
            if np.array_equal(roots, np.broadcast_to(roots[index], roots.shape)):
                found.append(axis)
        return found

    def _rectangles(self) -> None:
        splits, partials = self.ledger.splits, self.ledger.partials
        pinned = self._pinned()
        while True:
            changed = False
            waiting: list[tuple[int, Split]] = []
            for number, split in enumerate(splits):
                if not self._cut_axes(split.ids):
                    waiting.append((number, split))
            if waiting:
                # The first in trace order decides; later ones often follow from it.
                number, split = waiting[0]
                axis = self._choose(number, split, pinned)
                self._tie_all_but(split.ids, axis, split)
                changed = True
            for partial in partials:
                changed |= self._follow(partial)
            if not changed:
                changed = self._lead(partials)
            if not changed:
                break
        for partial in partials:
            self._settle(partial)

    def _lead(self, partials: list[Partial]) -> bool:
        """An undecided joint array is cut along the axis that something else indexes alone."""
        for partial in partials:
            if partial.sub is not None and len(partial.axes) == 1 and not self._cut_axes(partial.joint):
                self._tie_all_but(partial.joint, partial.axes[0], partial)
                return True
        return False

    def _pinned(self) -> list[tuple[Array, int]]:
        return [(p.joint, p.axes[0]) for p in self.ledger.partials if p.sub is None and len(p.axes) == 1]

    def _choose(self, number: int, split: Split, pinned: list[tuple[Array, int]]) -> int:
        free = [a for a in range(split.ids.ndim) if not any(_same_slice(split.ids, a, j, x) for j, x in pinned)]
        free = free or list(range(split.ids.ndim))
        # An axis along which everything is tied already, as within heads, cannot be cut.
        open_ = [a for a in free if self._left(split.ids, a) > 1]
        free = open_ or free
        return free[0] if number in self._rows else free[-1]

    def _left(self, ids: Array, axis: int) -> int:
        """How many classes would be left if an array were cut along this axis."""
        rows = np.moveaxis(self._find.find(ids), axis, 0).reshape(ids.shape[axis], -1)
        _, names = np.unique(rows, return_inverse=True)
        row = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape).ravel()
        parts = UnionFind(len(rows))
        parts.union(row, row[np.unique(names.ravel(), return_index=True)[1]][names.ravel()])
        return len(np.unique(parts.find(np.arange(len(rows)))))

    def _tie_all_but(self, ids: Array, axis: int, cause: Split | Partial) -> None:
        index = tuple(slice(None) if a == axis else slice(0, 1) for a in range(ids.ndim))
        self._find.union(ids, ids[index])
        self.ties.append((ids, ids[index], cause))

    def _axis_of(self, joint: Array, axes: tuple[int, ...]) -> bool | None:
        """Is a joint array cut within ``axes``? None while undecided."""
        cut = self._cut_axes(joint)
        if not cut:
            return None
        return any(a in axes for a in cut)

    def _follow(self, partial: Partial) -> bool:
        if partial.sub is None or not self._axis_of(partial.joint, partial.axes):
            return False
        cut = [a for a in self._cut_axes(partial.joint) if a in partial.axes]
        sub = partial.sub
        inside = tuple(partial.axes.index(a) for a in cut)
        shape = [partial.joint.shape[a] if a in partial.axes else 1 for a in range(partial.joint.ndim)]
        if len(partial.axes) > 1 and not inside:
            return False
        changed = self._find.union(partial.joint, sub.reshape(shape))
        if changed:
            self.ties.append((partial.joint, sub.reshape(shape), partial))
        return changed

    def _settle(self, partial: Partial) -> None:
        """Once the cut is known: what lies on other axes keeps its size."""
        within = self._axis_of(partial.joint, partial.axes)
        if partial.sub is None:
            if within is not False:
                self._late.append((partial.joint, partial.reason, partial))
        elif within is None:
            self._late += [(partial.joint, RECTANGLE, partial), (partial.sub, RECTANGLE, partial)]
        elif not within:
            self._late.append((partial.sub, partial.reason, partial))

    # -- silence -------------------------------------------------------------------------------------
    def _silence(self) -> tuple[Array, Array]:
        """Pick, for every place that sums over a class, slices that silence it; fix what has none."""
        self.forbidden = np.zeros(self.ledger.size, dtype=bool)
        for nodes_ in self.ledger.forbidden:
            self.forbidden[nodes_[nodes_ >= 0]] = True
        roots: list[Array] = [np.empty(0, dtype=np.int64)]
        nodes: list[Array] = [np.empty(0, dtype=np.int64)]
        for consumer in self.ledger.consumers:
            for chosen_roots, chosen_nodes in self._options(consumer):
                roots.append(chosen_roots)
                nodes.append(chosen_nodes)
        pairs = np.stack([np.concatenate(roots), np.concatenate(nodes)])
        alive = ~self.fixed[pairs[0]]
        root, node = divmod(np.unique(pairs[0, alive] * self.ledger.size + pairs[1, alive]), max(1, self.ledger.size))
        return root, node

    def _options(self, consumer: Consumer) -> list[tuple[Array, Array]]:
        ids = consumer.ids.ravel()
        root = self.root[ids]
        open_ = ~self.fixed[root]
        # A class is served by one option as a whole: half by producers, half by consumers is not smaller.
        options = [self._valid(root, data) for data in consumer.options]
        if len(options) > 1 and len(consumer.options) > 1:
            heads = self.head[root]
            options = self._preferred(options, heads)
        out = []
        left = open_.copy()
        for valid, columns, allowed in options:
            bad = np.unique(root[left & ~(valid & allowed)])
            serve = left & ~np.isin(root, bad)
            for column in columns:
                use = serve & (column >= 0)
                out.append((root[use], column[use]))
            left &= ~serve
        if left.any():
            self.fix(ids[left], LOUD, consumer)
        return out

    def _preferred(
        self, options: list[tuple[Array, list[Array], Array]], heads: Array
    ) -> list[tuple[Array, list[Array], Array]]:
        """Producers first, except for heads, whose columns of the output projection come first."""
        (pv, pc, _), (cv, cc, _) = options[0], options[-1]
        yes = np.ones_like(heads)
        return [(cv, cc, heads), (pv, pc, yes), (cv, cc, yes)]

    def _valid(self, root: Array, data: Array) -> tuple[Array, list[Array], Array]:
        """Where silencers exist and belong to the class itself (another class's slices must stay)."""
        columns = [c.ravel() for c in data[2:]]
        valid = data[1].ravel() == 0
        for column in columns:
            own = np.where(column >= 0, self.root[np.maximum(column, 0)], root) == root
            hazard = (column >= 0) & self.forbidden[np.maximum(column, 0)]
            valid = valid & own & ~hazard
        return valid, columns, np.ones_like(valid)


def _same_slice(left: Array, left_axis: int, right: Array, right_axis: int) -> bool:
    """Do two joint arrays start with the same nodes along these axes, whatever the order of the others?"""
    a, b = np.take(left, 0, axis=left_axis), np.take(right, 0, axis=right_axis)
    return a.size == b.size and np.array_equal(np.sort(a, axis=None), np.sort(b, axis=None))
