"""Mixtures of experts: rows multiplied by one each of a stack of matrices.

All experts of a stack have one inner width, so the same index goes from each of them.
"""

from __future__ import annotations

from ..labels import Array, Label
from .call import Call, register
from .contraction import contract

# Rows of what enters a grouped product must lie at multiples of 16 bytes: this many entries of 2 bytes.
ALIGNED = 8


@register("_grouped_mm")
def grouped_mm(call: Call) -> Label:
    """Rows of ``self`` (S, in) go to one each of the stacked matrices ``mat2`` (experts, in, out)."""
    x, weights = call.label("self"), call.label("mat2")
    assert x is not None and weights is not None
    if len(x.shape) != 2 or len(weights.shape) != 3:
        raise NotImplementedError("between other than rows and a stack of matrices")
    experts, one = weights.at(0), weights.only((1, 2))
    if experts is not None:
        call.freeze(experts.ids, "an input is sent to one of these by its index")
    one_label = Label((1, *weights.shape[1:]), one).renumber(weights.shape[1:], {1: 0, 2: 1})
    rows_lie_inwards = call["mat2"].stride(-2) == 1
    for block in (*x.only((1,)), *(() if rows_lie_inwards else one_label.only((1,)))):
        _tie_aligned(call, block.ids, call["self"].element_size())
    product = contract(call, x, one_label, "ni", "io", "no")
    return call.align([product, call.label("bias")], call.shape())


def _tie_aligned(call: Call, ids: Array, bytes_each: int) -> None:
    """Neighbours stay or go together, so that what stays is as long as the kernel takes it in any type."""
    width = ALIGNED if ids.size % ALIGNED == 0 else 16 // bytes_each
    call.ledger.tie(ids.reshape(-1, width), [1])
