"""What the trace knows about one tensor: which of its indices are which nodes, and what silences them.

A *node* is one index of one axis of one parameter or buffer. A :class:`Block` says that an axis of a traced
tensor (or several axes jointly, after ``C -> (heads, width)``) is indexed by nodes: cutting the node cuts
that index. Beside the nodes a block carries, per position, the parameter slices whose zeroing makes the
activation there exactly zero, its *silencers*, or the fact that nothing does (*loud*).

Everything a block holds lives in one integer array ``data`` of shape (2 + columns, *sizes): row 0 the
nodes, row 1 the loud flag, the further rows one silencer node each (−1: none). Views, slices and
concatenations are then single numpy calls on its trailing axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Block:
    """One axis, or several taken jointly, indexed by nodes.

    Attributes:
        dims: the tensor's dimensions, ascending.
        data: integers (2 + columns, *sizes of dims).
    """

    dims: tuple[int, ...]
    data: Array

    @property
    def ids(self) -> Array:
        return self.data[0]


@dataclass(frozen=True)
class Label:
    """All that is known about a tensor of this ``shape``.

    ``free`` dimensions are constant along themselves and take their size from elsewhere (an expanded or
    freshly created tensor), so cutting what they meet cuts them too. ``zero``: every entry is zero.
    ``made``: free dimension → a number that stands for the place where its size was given, as far as known.
    """

    shape: tuple[int, ...]
    blocks: tuple[Block, ...] = ()
    free: frozenset[int] = field(default_factory=frozenset)
    zero: bool = False
    made: Mapping[int, int] = field(default_factory=dict)

    def at(self, dim: int) -> Block | None:
        """The block that covers a dimension."""
        return next((b for b in self.blocks if dim in b.dims), None)

    def only(self, dims: Iterable[int]) -> tuple[Block, ...]:
        """Blocks that lie entirely within ``dims``."""
        keep = set(dims)
        return tuple(b for b in self.blocks if keep.issuperset(b.dims))

    def renumber(self, shape: Sequence[int], where: dict[int, int]) -> Label:
        """Move dimensions: ``where`` maps old to new; blocks on dropped dimensions must not exist."""
        blocks = []
        for block in self.blocks:
            dims = [where[d] for d in block.dims]
            order = np.argsort(dims)
            data = block.data.transpose(0, *(1 + order)) if len(dims) > 1 else block.data
            blocks.append(Block(tuple(sorted(dims)), data))
        free = frozenset(where[d] for d in self.free if d in where)
        made = {where[d]: n for d, n in self.made.items() if d in where}
        return Label(tuple(shape), tuple(blocks), free, self.zero, made)


def make_data(ids: Array, loud: bool = False, columns: Sequence[Array] = ()) -> Array:
    """Pack nodes, loudness and silencer columns (each of ``ids``' shape)."""
    return np.stack([ids, np.full_like(ids, int(loud)), *columns])


def louden(data: Array) -> Array:
    """The same nodes with nothing that silences them."""
    return make_data(data[0], loud=True)


def hush(data: Array) -> Array:
    """The same nodes, known to be zero whatever happens."""
    return make_data(data[0])


def both(datas: Sequence[Array]) -> Array:
    """Silencers of a sum: every term must be silent. Nodes are taken from the first."""
    loud = np.maximum.reduce([d[1] for d in datas])
    columns: list[Array] = []
    for data in datas:
        columns += [c for c in data[2:] if not any(c is k or np.array_equal(c, k) for k in columns)]
    return np.stack([datas[0][0], loud, *columns])


def either(datas: Sequence[Array]) -> Array:
    """Silencers of a product: one silent factor is enough; the first that has silencers, per position."""
    best = datas[0]
    for data in datas[1:]:
        if not best[1].any():
            break
        best, data = pad_columns([best, data])
        best = np.concatenate([best[:1], np.where(best[1] > 0, data[1:], best[1:])])
    return np.concatenate([datas[0][:1], best[1:]])


def pad_columns(datas: Sequence[Array]) -> list[Array]:
    """Give all the same number of silencer columns, filling with −1 (none)."""
    most = max(len(d) for d in datas)
    return [
        np.concatenate([d, np.full((most - len(d), *d.shape[1:]), -1, dtype=d.dtype)]) if len(d) < most else d
        for d in datas
    ]
