"""Union-find over integer nodes, a whole array of pairs at a time.

Pairs are hooked root to smaller root with one ``minimum.at`` and then flattened by pointer jumping, so
uniting two axes of a million indices is a handful of numpy calls and never a Python loop.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

Array = np.ndarray

# Pairs that are united in one pass; more would only take memory.
AT_ONCE = 4_000_000


class UnionFind:
    """Disjoint sets of the nodes ``0 … size-1``."""

    def __init__(self, size: int) -> None:
        self._parent = np.arange(size, dtype=np.int64)

    def find(self, nodes: Array) -> Array:
        """The representative (smallest hooked root) of each node, same shape as ``nodes``."""
        roots = self._parent[nodes]
        while True:
            above = self._parent[roots]
            if np.array_equal(above, roots):
                return roots
            roots = above

    def union(self, left: Array, right: Array) -> bool:
        """Unite ``left[i]`` with ``right[i]`` for all i (arrays broadcast). True if anything changed."""
        left, right = np.broadcast_arrays(left, right)
        a, b = self.find(left.ravel()), self.find(right.ravel())
        changed = False
        while True:
            differ = a != b
            if not differ.any():
                break
            changed = True
            low, high = np.minimum(a, b)[differ], np.maximum(a, b)[differ]
            # A root may be hooked to several; the smallest wins now, the next round unites the rest.
            np.minimum.at(self._parent, high, low)
            a, b = self.find(a[differ]), self.find(b[differ])
        if changed:
            self._parent = self.find(self._parent)
        return changed

    def union_all(self, pairs: Iterable[tuple[Array, Array]]) -> None:
        """Unite many pairs of arrays, in few passes over the nodes."""
        lefts: list[Array] = []
        rights: list[Array] = []
        waiting = 0
        for pair in pairs:
            left, right = np.broadcast_arrays(*pair)
            lefts.append(left.ravel())
            rights.append(right.ravel())
            waiting += left.size
            if waiting > AT_ONCE:
                self.union(np.concatenate(lefts), np.concatenate(rights))
                lefts, rights, waiting = [], [], 0
        if lefts:
            self.union(np.concatenate(lefts), np.concatenate(rights))

    def tie(self, ids: Array, axis: int) -> bool:
        """Unite all nodes that differ only in their index along ``axis``."""
        return self.union(ids, np.take(ids, [0], axis=axis))
