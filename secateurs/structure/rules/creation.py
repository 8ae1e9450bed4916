"""Tensors made from nothing: constant ones have no size of their own, others are fixed."""

from __future__ import annotations

from ..labels import Block, Label, hush, louden
from .call import Call, register


@register(
    "zeros", "ones", "full", "empty", "empty_strided", "scalar_tensor", "new_zeros", "new_ones", "new_full",
    "new_empty", "new_empty_strided", "rand", "randn", "empty_permuted",
)  # fmt: skip
def constant(call: Call) -> Label:
    shape = call.shape()
    zero = call.name.endswith("zeros") or (call.name.endswith("full") and call["fill_value"] == 0)
    free = frozenset(range(len(shape)))
    return Label(shape, (), free, zero, {d: call.ledger.give(call.path, shape[d]) for d in free if shape[d] > 1})


@register("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like")
def like(call: Call) -> Label:
    label = call.tensors[0]
    zero = call.name == "zeros_like" or (call.name == "full_like" and call["fill_value"] == 0)
    blocks = tuple(Block(b.dims, (hush if zero else louden)(b.data)) for b in label.blocks)
    # Sizes without a label still come from elsewhere: only labelled dimensions are bound.
    free = frozenset(range(len(label.shape))) - {d for b in blocks for d in b.dims}
    return Label(call.shape(), blocks, free, zero, label.made)


@register("arange", "linspace", "eye", "randint", "randperm", "tril_indices", "triu_indices", "logspace")
def fixed(call: Call) -> Label:
    return Label(call.shape())
