"""Concatenation, stacking, padding, and tensors filled part by part: positions keep their own nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..labels import Array, Block, Label, make_data, pad_columns
from ..ledger import Partial, Size
from .call import Call, register


@register("cat", "concat", "concatenate", "_cat")
def cat(call: Call) -> Label:
    labels = [call.label_of(t) for t in call["tensors"]]
    rank = len(call.shape())
    # Old PyTorch semantics: an empty 1-d tensor is skipped.
    labels = [x for x in labels if x.shape != (0,) or rank == 1]
    return joined(call, labels, int(call["dim"] or 0) % rank, call.shape())


def joined(call: Call, labels: Sequence[Label], dim: int, shape: tuple[int, ...]) -> Label:
    # Code that treats a part of an axis apart joins the rest on, which may be nothing.
    labels = [x for x in labels if x.shape[dim]] or labels
    covering = [x.at(dim) for x in labels]
    if not any(covering):
        return _beside(call, labels, dim, shape, ())
    dims = next(b.dims for b in covering if b is not None)
    joint = len(dims) > 1
    agree = all(b is not None and b.dims == dims for b in covering)
    if joint and not agree:
        for block in covering:
            if block is not None:
                call.freeze(block.ids, "concatenated with a tensor of fixed size along part of a joint axis")
        return _beside(call, labels, dim, shape, ())
    datas = [_along(call, x, b, dim) for x, b in zip(labels, covering)]
    axis = dims.index(dim)
    if joint:
        for data in datas[1:]:
            rest = [a for a in range(len(dims)) if a != axis]
            sub = np.take(data[0], 0, axis=axis)
            reason = f"concatenated along part of a joint axis (in {call.where})"
            call.ledger.partials.append(Partial(datas[0][0], tuple(rest), sub, reason))
    data = np.concatenate(pad_columns(datas), axis=1 + axis)
    block = Block(dims, data)
    if joint:
        call.split(data[0])
        call.pin(block, dim, "concatenated along part of a joint axis")
    return _beside(call, labels, dim, shape, (block,))


def _along(call: Call, label: Label, block: Block | None, dim: int) -> Array:
    if block is not None:
        return block.data
    ids = call.ledger.fresh(label.shape[dim])
    if ids.size:
        call.freeze(ids, "concatenated with entries that come from the input or the code")
    return make_data(ids, loud=not label.zero)


def _beside(call: Call, labels: Sequence[Label], dim: int, shape: tuple[int, ...], blocks: tuple[Block, ...]) -> Label:
    """Unite the other dimensions of everything that is concatenated."""
    skip = {d for b in blocks for d in b.dims} | {dim}
    flat = []
    for label in labels:
        rest = tuple(b for b in label.blocks if not skip & set(b.dims))
        thin = tuple(1 if d in skip else s for d, s in enumerate(label.shape))
        flat.append(Label(thin, rest, label.free - skip, label.zero))
    outer = tuple(1 if d in skip else s for d, s in enumerate(shape))
    other = call.align(flat, outer, "all")
    free = frozenset(other.free | ({dim} if all(dim in x.free for x in labels) else set()))
    return Label(shape, blocks + other.blocks, free, other.zero)


def part_of(part: Tensor, whole: Tensor) -> int | None:
    """The dimension along which a tensor is a contiguous part of another, None if it is no such part."""
    if part.dim() != whole.dim() or part.stride() != whole.stride():
        return None
    narrow = [d for d in range(part.dim()) if part.shape[d] != whole.shape[d]]
    if len(narrow) != 1:
        return None
    (dim,) = narrow
    offset = int(part.storage_offset()) - int(whole.storage_offset())
    start, beside = divmod(offset, max(1, part.stride(dim)))
    return dim if not beside and 0 <= start <= whole.shape[dim] - part.shape[dim] else None


def filled(call: Call, whole: Label, part: Label, dim: int) -> Label:
    """A tensor after a part of it along ``dim`` was written: its other axes are the part's as well."""
    reason = "written into a part of an axis"
    rest = [d for d in range(len(whole.shape)) if d != dim]
    thin = []
    for label in (whole, part):
        kept = call.passing(label, rest, reason)
        shape = tuple(1 if d == dim else s for d, s in enumerate(label.shape))
        thin.append(Label(shape, kept.blocks, kept.free, made={d: n for d, n in label.made.items() if d != dim}))
    out = call.align(thin, thin[0].shape, "never")
    return Label(whole.shape, out.blocks, out.free - {dim}, made=out.made)


@register("stack", "_stack")
def stack(call: Call) -> Label:
    labels = [call.label_of(t) for t in call["tensors"]]
    shape = call.shape()
    dim = int(call["dim"] or 0) % len(shape)
    where = {d: d + (d >= dim) for d in range(len(shape) - 1)}
    thin = (*shape[:dim], 1, *shape[dim + 1 :])
    return call.align([x.renumber(thin, where) for x in labels], shape, "all")


@register("constant_pad_nd", "pad")
def pad(call: Call) -> Label:
    label = call.label("self")
    assert label is not None
    amounts = [int(p) for p in call["pad"]]
    value = call["value"] or 0
    rank = len(label.shape)
    blocks = []
    for block in label.blocks:
        sides = [_sides(amounts, rank, d) for d in block.dims]
        if not any(any(s) for s in sides):
            blocks.append(block)
        elif len(block.dims) > 1:
            call.freeze(block.ids, "padded along part of a joint axis")
        else:
            blocks.append(Block(block.dims, _padded(call, block.data, sides[0], value == 0)))
    if value != 0:
        grown = [d for d in range(rank) if any(_sides(amounts, rank, d))]
        blocks = [Block(b.dims, np.concatenate([b.data[:1], np.ones_like(b.data[:1])])) if grown else b for b in blocks]
    return Label(call.shape(), tuple(blocks), frozenset(), label.zero and value == 0)


def _sides(amounts: Sequence[int], rank: int, dim: int) -> tuple[int, int]:
    at = 2 * (rank - 1 - dim)
    return (amounts[at], amounts[at + 1]) if at < len(amounts) else (0, 0)


def _padded(call: Call, data: Array, sides: tuple[int, int], zero: bool) -> Array:
    if min(sides) < 0:
        call.freeze(data[0], "cropped by the code")
        data = data[:, max(0, -sides[0]) : data.shape[1] - max(0, -sides[1])]
    ends = [call.ledger.fresh(max(0, s)) for s in sides]
    _follow_pads(call, sides, ends)
    before, after = (make_data(ids, loud=not zero) for ids in ends)
    return np.concatenate(pad_columns([before, data, after]), axis=1)


def _follow_pads(call: Call, sides: tuple[int, int], ends: list[Array]) -> None:
    """Padded channels can be cut if the module keeps the amounts where they can be changed.

    That is an attribute with "pad" in its name, either a pair (before, after) or, where both sides are
    alike and then cut alike, one integer.
    """
    found = {k: v for k, v in vars(call.module).items() if "pad" in k} if call.module is not None else {}
    for name, value in found.items():
        if isinstance(value, (tuple, list)) and tuple(value) == sides:
            for index, ids in enumerate(ends):
                call.ledger.sizes.append(Size(call.path, "pad", ids.size, ids, name, index))
            return
        if type(value) is int and sides == (value, value):
            call.ledger.unite(*ends)
            call.ledger.sizes.append(Size(call.path, "pad", value, ends[0], name))
            return
    for ids in ends:
        if ids.size:
            call.freeze(ids, "the code pads this axis by a fixed amount")
