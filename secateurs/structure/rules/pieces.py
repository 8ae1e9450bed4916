"""Slices and splits: code that takes parts of an axis.

Equal pieces (``chunk``, ``x[:, :c // 2]``) are cut at the same offsets. The sizes of others stand in the code or on the
module: they follow there, or the axis stays.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ..labels import Array, Block, Label
from ..ledger import Size, Sliced
from .call import Call, register
from .view import take, without


@register("slice", "narrow", "slice_copy")
def slice_(call: Call) -> Label:
    label = call.label("self")
    assert label is not None
    dim = int(call["dim"] or 0) % len(label.shape)
    size = label.shape[dim]
    if call.name == "narrow":
        index = slice(int(call["start"]), int(call["start"]) + int(call["length"]))
    else:
        index = slice(call["start"], call["end"], int(call["step"] or 1))
    start, stop, step = index.indices(size)
    block = label.at(dim)
    whole = (start, len(range(start, stop, step))) == (0, size)
    if block is not None and not whole and not sliced(call, block, dim, start, stop, step):
        label = without(label, block)
    return take(label, dim, slice(start, stop, step))


def sliced(call: Call, block: Block, dim: int, start: int, stop: int, step: int) -> bool:
    """A slice in the user's code binds the axis; False if it froze."""
    if call.swapped:
        return True
    size, length = block.ids.shape[block.dims.index(dim)], stop - start
    reason = "a slice in the code fixes sizes along this axis"
    if len(block.dims) > 1:
        call.pin(block, dim, reason)
    elif step == 1 and _even(call, block, start, length):
        pieces(call, block.ids, [length] * (size // length))
    elif step > 1 and size % step == 0 and start < step and stop > size - step:
        call.ledger.tie(block.ids.reshape(-1, step), [1])
    elif step == 1:
        call.written(block.ids, reason)
    else:
        call.freeze(block.ids, reason)
        return False
    return True


def _even(call: Call, block: Block, start: int, length: int) -> bool:
    """Is this slice one of equal pieces, as all slices of the tensor so far? If not, these are none either."""
    size = block.ids.size
    held = call.ledger.sliced.setdefault(id(block), Sliced(block))
    held.lengths.add(length if length and size % length == 0 and start % length == 0 else 0)
    if held.lengths == {length}:
        held.unions.append(len(call.ledger.unions))
        held.sizes.append(len(call.ledger.sizes))
        return True
    call.ledger.take_back(held)
    return False


def pieces(call: Call, ids: Array, lengths: Sequence[int]) -> bool:
    """Consecutive pieces: equal ones are cut at the same offsets; unequal ones if the module keeps their lengths."""
    if call.swapped:
        return True
    if len(set(lengths)) > 1:
        return _kept_pieces(call, ids, lengths)
    tied = call.ledger.tie(ids.reshape(len(lengths), -1), [0])
    call.size("piece", tied)
    return True


def _kept_pieces(call: Call, ids: Array, lengths: Sequence[int]) -> bool:
    """Pieces of one length are read from one attribute, so they are cut alike."""
    held = vars(call.module) if call.module is not None else {}
    names = {n: [k for k, v in held.items() if type(v) is int and v == n and k[0] != "_"] for n in lengths}
    if any(len(found) != 1 for found in names.values()):  # none, or it might be either
        call.written(ids, f"split into fixed sizes {list(lengths)}")
        return True
    parts = np.split(ids, np.cumsum(lengths)[:-1])
    for length, (name,) in names.items():
        alike = np.stack([part for part in parts if part.size == length])
        call.ledger.sizes.append(Size(call.path, "piece", length, call.ledger.tie(alike, [0]), name))
    return True


@register(
    "split",
    "split_with_sizes",
    "unsafe_split",
    "unsafe_split_with_sizes",
    "chunk",
    "unsafe_chunk",
    "tensor_split",
)
def split(call: Call) -> list[Label | None]:
    label = call.label("self")
    assert label is not None
    dim = int(call["dim"] or 0) % len(label.shape)
    lengths = [int(o.shape[dim]) for o in call.out]
    block = label.at(dim)
    if block is not None and len(lengths) > 1:
        if len(block.dims) > 1:
            call.pin(block, dim, "split in the code along part of a joint axis")
        elif not pieces(call, block.ids, lengths):
            label = without(label, block)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return [take(label, dim, slice(int(a), int(b))) for a, b in itertools.pairwise(starts)]
