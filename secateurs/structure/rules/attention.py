"""Fused scaled dot product attention: whole heads live and die.

The scale is 1/√width and the softmax runs over keys, so neither may change; removing a head removes its
queries, keys, values and its columns of the output projection.
"""

from __future__ import annotations

import math

import numpy as np

from ..labels import Array, Block, Label, make_data
from .call import Call, register


@register(
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_attention_math", "_scaled_dot_product_attention_math_for_mps",
    "_scaled_dot_product_fused_attention_overrideable", "scaled_dot_product_attention",
)  # fmt: skip
def attention(call: Call) -> Label | list[Label | None]:
    query, key, value = (call.label(n) for n in ("query", "key", "value"))
    assert query is not None and key is not None and value is not None
    many = isinstance(call.out, (tuple, list))
    shape = call.shape(0) if many else call.shape()
    lead = [_heads(call, x, keep_width=x is value) for x in (query, key, value)]
    repeated = [_repeat(x, shape[:-2]) for x in lead]
    mask = call.label("attn_mask") or call.label("attn_bias")
    if mask is not None:
        for block in mask.blocks:
            if max(block.dims) >= len(mask.shape) - 2:
                call.freeze(block.ids, "an attention mask's positions")
        outside = range(len(mask.shape) - 2)
        free = mask.free.intersection(outside)
        repeated.append(Label((*mask.shape[:-2], 1, 1), mask.only(outside), free, made=mask.made))
    rank = len(shape)
    outer = call.align(repeated, (*shape[:-2], 1, 1), "never")
    heads = outer.at(rank - 3)
    if heads is not None and rank > 3 and key.shape[-3] == 1:
        call.size("repeats", heads.ids)
    blocks = [_value_block(call, value, outer)] if value.at(rank - 1) is not None else list(outer.blocks)
    _count(call, query, key, value, outer)
    out = Label(shape, tuple(b for b in blocks if b is not None))
    return [out] + [None] * (len(call.out) - 1) if many else out


def _heads(call: Call, label: Label, keep_width: bool) -> Label:
    """The label over batch and heads; widths within heads are tied, whole widths frozen."""
    rank = len(label.shape)
    blocks = []
    for block in label.blocks:
        inside = [d for d in block.dims if d >= rank - 2]
        if not inside:
            call.ledger.heads.append(block.ids)
            blocks.append(block)
        elif len(inside) < len(block.dims):
            ids = call.tie_part(block, inside, head=True)
            blocks.append(Block(tuple(d for d in block.dims if d not in inside), make_data(ids, loud=True)))
        elif not (keep_width and block.dims == (rank - 1,)):
            call.freeze(block.ids, "attention's scale depends on the width within a head")
    return Label((*label.shape[:-2], 1, 1), tuple(blocks), label.free, made=label.made)


def _repeat(label: Label, lead: tuple[int, ...]) -> Label:
    """Grouped-query attention: keys and values serve several query heads each; a single one serves all."""
    blocks = []
    for block in label.blocks:
        data = block.data
        for axis, dim in enumerate(block.dims):
            if dim < len(lead) and label.shape[dim] != lead[dim]:
                data = np.repeat(data, lead[dim] // label.shape[dim], axis=1 + axis)
        blocks.append(Block(block.dims, data))
    shape = [m if n > 1 else 1 for n, m in zip(label.shape, lead)]
    return Label((*shape, 1, 1), tuple(blocks), label.free, made=label.made)


def _value_block(call: Call, value: Label, outer: Label) -> Block | None:
    """Output channels: the value's, per head."""
    last = len(value.shape) - 1
    block = value.at(last)
    assert block is not None
    if len(block.dims) == 1:
        if outer.blocks:
            call.freeze(block.ids, "the width of one head")
            return outer.blocks[0]
        return block
    data = block.data
    for axis, dim in enumerate(block.dims[:-1]):
        if value.shape[dim] != outer.shape[dim]:
            data = np.repeat(data, outer.shape[dim] // value.shape[dim], axis=1 + axis)
    return Block(block.dims, data)


def _count(call: Call, query: Label, key: Label, value: Label, outer: Label) -> None:
    *lead, length, width = query.shape
    axes: list[Array] = [b.ids for b in outer.blocks]
    covered = {d for b in outer.blocks for d in b.dims}
    each = math.prod(s for d, s in enumerate(lead) if d not in covered)
    call.product(each * length * key.shape[-2] * width, axes)
    # Where there is a single head, the values' width is an axis like any other.
    inner = next((b for b in value.blocks if b.dims == (len(value.shape) - 1,)), None)
    own = [inner.ids] if inner is not None else []
    call.product(each * length * key.shape[-2] * (1 if own else value.shape[-1]), [*axes, *own])
