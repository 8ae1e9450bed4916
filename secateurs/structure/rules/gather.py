"""Lookups: embeddings and indexing. The axis that is looked up cannot be cut; the others pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..labels import Block, Label, louden
from .call import Call, register
from .view import without

LOOKED_UP = "entries along this axis are looked up by index"


def _fix(call: Call, label: Label, dims: set[int]) -> Label:
    for block in label.blocks:
        if set(block.dims) <= dims:
            call.freeze(block.ids, LOOKED_UP)
            label = without(label, block)
        elif set(block.dims) & dims:
            for dim in set(block.dims) & dims:
                call.pin(block, dim, LOOKED_UP)
    return label


@register("embedding")
def embedding(call: Call) -> Label:
    table, indices = call.label("weight"), call.label("indices")
    assert table is not None and indices is not None
    call.freeze_label(indices, "used as an index")
    kept = _fix(call, table, {0})
    width = len(indices.shape)
    for block in kept.blocks:
        call.ledger.producers.append((call.path, block.ids))
    return kept.renumber(call.shape(), {1: width})


@register("_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(call: Call) -> list[Label | None]:
    table = call.label("weight")
    assert table is not None
    kept = _fix(call, table, {0})
    return [kept.renumber(call.shape(0), {1: 1})] + [None] * (len(call.out) - 1)


@register("index_select")
def index_select(call: Call) -> Label:
    label = call.label("self")
    assert label is not None
    dim = int(call["dim"]) % len(label.shape)
    kept = _fix(call, label, {dim})
    blocks = tuple(b for b in kept.blocks if dim not in b.dims)
    for block in kept.blocks:
        if dim in block.dims:
            call.freeze(block.ids, LOOKED_UP)
    return Label(call.shape(), blocks, label.free - {dim}, label.zero)


@register("gather", "take_along_dim")
def gather(call: Call) -> Label:
    label, index = call.label("self"), call.label("index")
    assert label is not None and index is not None
    dim = int(call["dim"]) % len(label.shape)
    for block in label.blocks:
        if dim in block.dims:
            call.freeze(block.ids, LOOKED_UP)
    kept = Label(
        tuple(1 if d == dim else s for d, s in enumerate(label.shape)),
        tuple(b for b in label.blocks if dim not in b.dims),
        label.free - {dim},
    )
    shape = call.shape()
    narrowed = [b for b in kept.blocks if any(label.shape[d] != shape[d] for d in b.dims)]
    for block in narrowed:
        call.freeze(block.ids, LOOKED_UP)
    return call.align([without(kept, *narrowed), index], shape, "all", over=[0])


@register("index")
def index(call: Call) -> Label:
    """Advanced indexing; labels on dimensions that are not indexed move with numpy's rule."""
    label = call.label("self")
    assert label is not None
    given: list[Any] = list(call["indices"])
    used = [i for i, g in enumerate(given) if isinstance(g, torch.Tensor)]
    for i in used:
        call.freeze_label(call.label_of(given[i]), "used as an index")
    if not used:
        return label
    used, rank = _masked_dims(given, used)
    if not used:
        call.freeze_label(label, LOOKED_UP)
        return Label(call.shape())
    dims = set(used)
    for block in label.blocks:
        if dims & set(block.dims):
            call.freeze(block.ids, LOOKED_UP)
    kept = [b for b in label.blocks if not dims & set(b.dims)]
    adjacent = used == list(range(used[0], used[-1] + 1))
    at = used[0] if adjacent else 0
    where = {}
    for position, dim in enumerate(d for d in range(len(label.shape)) if d not in dims):
        where[dim] = position + (rank if position >= at else 0)
    return Label(label.shape, tuple(kept), label.free - dims).renumber(call.shape(), where)


def _masked_dims(given: list[Any], used: list[int]) -> tuple[list[int], int]:
    """The dimensions that indices consume and the rank they leave; none when masks and indices mix."""
    masks = [given[i] for i in used if given[i].dtype in (torch.bool, torch.uint8)]
    if not masks:
        return used, len(np.broadcast_shapes(*(tuple(given[i].shape) for i in used)))
    if len(used) > 1:
        return [], 0
    # One mask over several dimensions: they become one.
    return list(range(used[0], used[0] + masks[0].dim())), 1


@register("tril", "triu")
def triangle(call: Call) -> Label:
    label = call.label("self")
    assert label is not None
    last = {len(label.shape) - 1, len(label.shape) - 2}
    for block in label.blocks:
        if last & set(block.dims):
            call.freeze(block.ids, "a triangle is cut from this axis")
    kept = without(label, *(b for b in label.blocks if last & set(b.dims)))
    return Label(kept.shape, tuple(Block(b.dims, louden(b.data)) for b in kept.blocks), label.free - last)
