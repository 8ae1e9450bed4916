"""Operators that only rearrange: reshape, permute, expand, select.

A reshape is cut into groups of dimensions whose products agree. Within a group the nodes are laid out over
all its old dimensions and read back over the new ones, so flatten is a repeat, a head split is a joint
block, and folding heads into the batch is a tile, without a case for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..labels import Array, Block, Label
from .call import Call, register

# Indices of one flattened axis that are followed; beyond, it is taken for positions and fixed.
LARGEST = 10_000_000


def take(label: Label, dim: int, index: slice | Array) -> Label:
    """Index one dimension (kept) of a label."""
    size = len(range(label.shape[dim])[index]) if isinstance(index, slice) else len(index)
    shape = (*label.shape[:dim], size, *label.shape[dim + 1 :])
    blocks = []
    for block in label.blocks:
        if dim not in block.dims:
            blocks.append(block)
            continue
        axis = 1 + block.dims.index(dim)
        data = block.data[(slice(None),) * axis + (index,)]
        if size > 1:
            blocks.append(Block(block.dims, data))
        elif size and len(block.dims) > 1:
            rest = tuple(d for d in block.dims if d != dim)
            blocks.append(Block(rest, data.squeeze(axis)))
    return Label(shape, tuple(blocks), label.free, label.zero)


def without(label: Label, *blocks: Block) -> Label:
    return Label(label.shape, tuple(b for b in label.blocks if b not in blocks), label.free, label.zero)


def groups_of(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Smallest runs of dimensions of ``old`` and ``new`` with equal products, in order."""
    groups = []
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = [i] if i < len(old) else [], [j] if j < len(new) else []
        a, b = old[i] if left else 1, new[j] if right else 1
        i, j = i + len(left), j + len(right)
        while a != b:
            if a < b and i < len(old):
                a *= old[i]
                left.append(i)
                i += 1
            elif j < len(new):
                b *= new[j]
                right.append(j)
                j += 1
            else:
                break
        groups.append((left, right))
    return groups


@register("view", "_unsafe_view", "reshape", "_reshape_alias", "_reshape_copy", "view_copy", "_reshape_from_tensor")
def reshape(call: Call) -> Label:
    label = call.label("self")
    assert label is not None
    return reshaped(call, label, call.shape())


def reshaped(call: Call, label: Label, shape: tuple[int, ...]) -> Label:
    if 0 in shape:
        call.freeze_label(label, "reshaped while empty")
        return Label(shape)
    groups = groups_of(label.shape, shape)
    free = frozenset(
        d for left, right in groups for d in right if all(label.shape[o] == 1 or o in label.free for o in left)
    )
    taken: set[int] = set()
    blocks = []
    for block in label.blocks:
        touched = [g for g, (left, _) in enumerate(groups) if set(left) & set(block.dims)]
        rivals = [b for b in label.blocks if b is not block and any(set(groups[g][0]) & set(b.dims) for g in touched)]
        if rivals and block is not max([block, *rivals], key=lambda b: (b.ids.size, -b.dims[0])):
            call.freeze(block.ids, "flattened together with a longer axis, which alone can be cut then")
            continue
        taken.update(touched)
        moved = _relay(call, label.shape, shape, block, [groups[g] for g in touched])
        if moved is not None:
            blocks.append(moved)
    return Label(shape, tuple(blocks), free, label.zero)


def _relay(
    call: Call,
    old: Sequence[int],
    new: Sequence[int],
    block: Block,
    groups: list[tuple[list[int], list[int]]],
) -> Block | None:
    source = [d for left, _ in groups for d in left if old[d] > 1]
    target = [d for _, right in groups for d in right if new[d] > 1]
    data = block.data
    if math.prod(old[d] for d in source) > LARGEST:
        call.freeze(block.ids, "flattened into an axis too long to follow")
        return None
    if source != list(block.dims):
        sizes = [old[d] for d in source]
        place = [old[d] if d in block.dims else 1 for d in source]
        data = np.broadcast_to(data.reshape(len(data), *place), (len(data), *sizes))
    if len(source) > 1 and len(target) == 1 and len(block.dims) > 1:
        call.size("width", block.ids)
    elif source != list(block.dims) and len(target) == 1 and target and len(source) > 1:
        call.size("flat", data[0])
    data = data.reshape(len(data), *(new[d] for d in target))
    if len(target) > 1:
        data, target = _independent(data, target)
    if len(target) > 1 and len(target) != len(block.dims):
        call.split(data[0])
        for axis in range(len(target)):
            ids = np.moveaxis(data[0], axis, 0).reshape(new[target[axis]], -1)
            call.size("heads", ids[:, 0])
        call.size("width", data[0])
    return Block(tuple(target), data) if target else None


def _independent(data: Array, target: list[int]) -> tuple[Array, list[int]]:
    """Drop dimensions along which nothing changes: they are not the block's own."""
    keep = []
    for axis, dim in enumerate(target):
        first = np.take(data, [0], axis=1 + axis)
        if data.shape[1 + axis] > 1 and np.array_equal(data, np.broadcast_to(first, data.shape)):
            data = first
        else:
            keep.append(dim)
    return data.reshape(len(data), *(s for s in data.shape[1:] if s > 1)), keep


@register("permute", "transpose", "t", "swapaxes", "numpy_T", "movedim", "permute_copy", "transpose_copy", "t_copy")
def permute(call: Call) -> Label:
    label = call.label("self")
    assert label is not None
    rank = len(label.shape)
    order = list(range(rank))
    if call.name.startswith("permute"):
        order = [d % rank for d in call["dims"]]
    elif call.name in ("t", "t_copy"):
        order = order[::-1]
    elif rank:
        a, b = int(call["dim0"]) % rank, int(call["dim1"]) % rank
        order[a], order[b] = order[b], order[a]
    return label.renumber(call.shape(), {old: new for new, old in enumerate(order)})


@register("squeeze", "unsqueeze", "squeeze_copy", "unsqueeze_copy")
def squeeze(call: Call) -> Label:
    label = call.label("self")
    assert label is not None
    return reshaped(call, label, call.shape())


@register("expand", "expand_copy", "broadcast_to", "expand_as")
def expand(call: Call) -> Label:
    label = call.label("self")
    assert label is not None
    shape = call.shape()
    out = call.align([label], shape, "all")
    offset = len(shape) - len(label.shape)
    grown = {d for d in range(len(shape)) if d < offset or label.shape[d - offset] != shape[d]}
    made = {d: call.ledger.give(call.path, shape[d]) for d in grown if shape[d] > 1}
    return Label(shape, out.blocks, out.free | grown, label.zero, {**out.made, **made})


@register("repeat")
def repeat(call: Call) -> Label:
    label = call.label("self")
    assert label is not None
    shape, times = call.shape(), [int(r) for r in call["repeats"]]
    offset = len(shape) - len(label.shape)
    blocks = []
    for block in label.blocks:
        dims = tuple(d + offset for d in block.dims)
        blocks.append(Block(dims, np.tile(block.data, (1, *(times[d] for d in dims)))))
    small = {d for d in range(len(shape)) if d < offset or label.shape[d - offset] == 1}
    return Label(shape, tuple(blocks), frozenset({d + offset for d in label.free} | small), label.zero)


@register("select", "select_copy")
def select(call: Call) -> Label:
    label = call.label("self")
    assert label is not None
    dim = int(call["dim"]) % len(label.shape)
    return _picked(call, label, dim, [int(call["index"]) % label.shape[dim]])[0]


@register("unbind", "unbind_copy")
def unbind(call: Call) -> list[Label | None]:
    label = call.label("self")
    assert label is not None
    dim = int(call["dim"] or 0) % len(label.shape)
    return list(_picked(call, label, dim, range(label.shape[dim])))


def _picked(call: Call, label: Label, dim: int, indices: Any) -> list[Label]:
    block = label.at(dim)
    if block is not None:
        call.pin(block, dim, "single indices are picked from this axis")
        if len(block.dims) == 1:
            label = without(label, block)
    shape = label.shape[:dim] + label.shape[dim + 1 :]
    where = {d: d - (d > dim) for d in range(len(label.shape)) if d != dim}
    out = []
    for index in indices:
        one = take(label, dim, slice(index, index + 1))
        out.append(one.renumber(shape, where))
    return out


@register("flip", "roll")
def shuffle(call: Call) -> Label:
    label = call.label("self")
    assert label is not None
    dims = [d % len(label.shape) for d in call["dims"]] or list(range(len(label.shape)))
    moved = [b for b in label.blocks if set(dims) & set(b.dims)]
    for block in moved:
        call.freeze(block.ids, "reversed or rolled along this axis")
    return without(label, *moved)
