"""Sums of products: linear layers, matrix products and convolutions.

In ``y[…o] = Σ_i x[…i] w[o, i]`` the indices of ``i`` live together in x and w and must be silent in one of
them when they are masked; the indices of ``o`` are new and are silenced by w's slice (and the bias). An
index that both factors keep (a batch of heads) lives together in all three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..labels import Array, Block, Label, make_data
from ..ledger import Partial
from .call import Call, register

FIXED = "multiplies a tensor whose size is set by the input or the code"


def contract(
    call: Call, left: Label, right: Label, l_letters: str, r_letters: str, out: str, scale: float = 1.0
) -> Label:
    """Label of an einsum of two tensors; notes unions, consumers and multiply-accumulates.

    Args:
        scale: further multiply-accumulates per term (kernel area, output positions).
    """
    sizes = dict(zip(l_letters, left.shape)) | dict(zip(r_letters, right.shape))
    _count(call, ((left, l_letters), (right, r_letters)), sizes, scale)
    reduced = []
    for label, letters, other, other_letters in (
        (left, l_letters, right, r_letters),
        (right, r_letters, left, l_letters),
    ):
        blocks = []
        for block in label.blocks:
            names = [letters[d] for d in block.dims]
            summed = [d for d, n in zip(block.dims, names) if n not in out]
            if not summed:
                blocks.append(block)
                if not set(names) & set(other_letters):
                    call.ledger.producers.append((call.path, block.ids))
            elif len(summed) == len(names):
                _consume(call, block, names, other, other_letters, first=label is left)
            else:
                kept = tuple(d for d in block.dims if d not in summed)
                blocks.append(
                    Block(
                        kept,
                        make_data(
                            call.tie_part(block, summed, head=bool({letters[d] for d in kept} & set(other_letters))),
                            loud=True,
                        ),
                    )
                )
                _fix_beside(call, [letters[d] for d in summed], other, other_letters)
        reduced.append(_spread(Label(label.shape, tuple(blocks), label.free, label.zero), letters, out, sizes))
    reduced = _whole_heads(call, reduced)
    _tie_batches(call, reduced)
    return call.align(reduced, [sizes[n] for n in out], "any")


def _whole_heads(call: Call, reduced: list[Label]) -> list[Label]:
    """Products within heads, of (head, one width) and (head, another): each head lives or dies whole."""
    out = []
    for mine, other in (reduced, reduced[::-1]):
        blocks = []
        for block in mine.blocks:
            common = {d for b in other.blocks for d in b.dims if not set(b.dims) <= set(block.dims)} & set(block.dims)
            if common and common < set(block.dims):
                rest = [d for d in block.dims if d not in common]
                data = make_data(call.tie_part(block, rest, head=True), loud=True)
                block = Block(tuple(d for d in block.dims if d in common), data)
            blocks.append(block)
        out.append(Label(mine.shape, tuple(blocks), mine.free, mine.zero))
    return out


def _tie_batches(call: Call, reduced: list[Label]) -> None:
    """A head's values meet its attention weights: joint (head, width) against (head) is cut by heads."""
    for mine, other in (reduced, reduced[::-1]):
        for block in mine.blocks:
            inner = [b for b in other.blocks if set(b.dims) < set(block.dims)]
            if inner:
                rest = [d for d in block.dims if d not in inner[0].dims]
                call.ledger.unite(call.tie_part(block, rest, head=True), inner[0].ids)


def _spread(label: Label, letters: str, out: str, sizes: dict[str, int]) -> Label:
    """The operand laid out over the output's letters; letters it lacks have size 1."""
    where = {d: out.index(n) for d, n in enumerate(letters) if n in out}
    shape = [sizes[n] if n in letters else 1 for n in out]
    return label.renumber(shape, where)


def _consume(call: Call, block: Block, names: list[str], other: Label, letters: str, first: bool) -> None:
    partners = [b for b in other.blocks if {letters[d] for d in b.dims} & set(names)]
    for partner in partners:
        theirs = [letters[d] for d in partner.dims]
        if set(theirs) == set(names):
            if not first:
                return  # noted once, from the left operand
            order = [theirs.index(n) for n in names]
            data = partner.data.transpose(0, *(1 + o for o in order))
            call.ledger.unite(block.ids, data[0])
            call.ledger.consume(block.ids, block.data, data)
            return
        if set(theirs) < set(names):
            axes = tuple(names.index(n) for n in theirs)
            reason = f"multiplies part of a joint axis (in {call.where})"
            call.ledger.partials.append(Partial(block.ids, axes, partner.ids, reason))
            continue
        return  # theirs is the larger: handled from its side
    if partners:
        call.ledger.consume(block.ids, block.data)
        return
    free = {letters[d] for d in other.free}
    if set(names) <= free:
        call.ledger.consume(block.ids, block.data)
    else:
        call.freeze(block.ids, FIXED)


def _fix_beside(call: Call, names: list[str], other: Label, letters: str) -> None:
    """The width within a head is fixed: what multiplies it alone is, too."""
    for block in other.blocks:
        if {letters[d] for d in block.dims} <= set(names):
            call.freeze(block.ids, "the width of one head")


def _count(call: Call, operands: Sequence[tuple[Label, str]], sizes: dict[str, int], scale: float) -> None:
    named = [(tuple(t[d] for d in b.dims), b.ids) for label, t in operands for b in label.blocks]
    covered: set[str] = set()
    axes = []
    for names, ids in sorted(named, key=lambda pair: -len(pair[0])):
        if not covered & set(names):
            covered |= set(names)
            axes.append(ids)
    call.product(scale * math.prod(n for k, n in sizes.items() if k not in covered), axes)


@register("mm")
def mm(call: Call) -> Label:
    return contract(call, *_pair(call, "self", "mat2"), "ni", "io", "no")


@register("bmm")
def bmm(call: Call) -> Label:
    return contract(call, *_pair(call, "self", "mat2"), "bni", "bio", "bno")


@register("mv")
def mv(call: Call) -> Label:
    return contract(call, *_pair(call, "self", "vec"), "ni", "i", "n")


@register("dot", "vdot")
def dot(call: Call) -> Label:
    return contract(call, *_pair(call, "self", "tensor" if call.name == "dot" else "other"), "i", "i", "")


@register("addmm")
def addmm(call: Call) -> Label:
    product = contract(call, *_pair(call, "mat1", "mat2"), "ni", "io", "no")
    return call.align([product, call.label("self")], call.shape())


@register("addmv")
def addmv(call: Call) -> Label:
    product = contract(call, *_pair(call, "mat", "vec"), "ni", "i", "n")
    return call.align([product, call.label("self")], call.shape())


@register("baddbmm")
def baddbmm(call: Call) -> Label:
    product = contract(call, *_pair(call, "batch1", "batch2"), "bni", "bio", "bno")
    if call["beta"] == 0:
        return product
    return call.align([product, call.label("self")], call.shape())


@register("linear")
def linear(call: Call) -> Label:
    x, weight = _pair(call, "input", "weight")
    lead = "abcdefgh"[: len(x.shape) - 1]
    product = contract(call, x, weight, lead + "i", "oi", lead + "o")
    return call.align([product, call.label("bias")], call.shape())


def _pair(call: Call, *names: str) -> tuple[Label, Label]:
    left, right = (call.label(n) for n in names)
    assert left is not None and right is not None
    return left, right


@register("convolution", "_convolution", "conv_depthwise3d", "mkldnn_convolution")
def convolution(call: Call) -> Label:
    x, weight = _pair(call, "input", "weight")
    transposed, groups = bool(call["transposed"]), int(call["groups"])
    area = math.prod(weight.shape[2:]) * math.prod(x.shape[2:] if transposed else call.shape()[2:])
    x, weight = (_channels(call, label) for label in (x, weight))
    if groups == 1:
        product = contract(call, x, weight, "ni", "io" if transposed else "oi", "no", scale=area)
    else:
        product = _grouped(call, x, weight, groups, transposed, area)
    full = Label(call.shape(), product.blocks)
    bias = call.label("bias")
    if bias is not None:
        bias = bias.renumber((1, *bias.shape, *([1] * (len(full.shape) - 2))), {0: 1})
    return call.align([full, bias], call.shape())


def _channels(call: Call, label: Label) -> Label:
    label = call.passing(label, [0, 1], "runs along a convolution's window")
    return Label(label.shape[:2], label.blocks, label.free, label.zero)


def _grouped(call: Call, x: Label, weight: Label, groups: int, transposed: bool, area: int) -> Label:
    channel, rows, columns = x.at(1), weight.at(0), weight.at(1)
    if rows is not None:
        call.ledger.producers.append((call.path, rows.ids))
    batch, per_in = x.shape[0], x.shape[1] // groups
    per_out = weight.shape[1] if transposed else weight.shape[0] // groups
    shape = (batch, groups * per_out)
    known = channel is not None and channel.dims == (1,) and rows is not None and rows.dims == (0,)
    known = known and (columns is not None or per_in == 1 or per_out == 1)
    if not known or channel is None or rows is None:
        for label in (x, weight):
            call.freeze_label(label, "enters a grouped convolution from channels that cannot be cut")
        call.product(area * batch * per_in * shape[1], ())
        return Label(shape)
    if per_in == 1 or per_out == 1:
        data = _whole_groups(call, channel, rows, columns, groups, transposed, per_out)
        call.product(area * batch * per_in, [data[0]])
    else:
        data, inner = _same_offset(call, channel, rows, columns, groups, transposed)
        call.product(area * batch, [data[0], inner])
    return Label(shape, (Block((1,), data),))


def _whole_groups(
    call: Call, x: Block, rows: Block, columns: Block | None, groups: int, transposed: bool, per_out: int
) -> Array:
    """Depthwise and its multiples: a group's inputs and outputs live and die together."""
    ledger = call.ledger
    first = ledger.tie(rows.ids.reshape(groups, -1), [1])
    ledger.unite(ledger.tie(x.ids.reshape(groups, -1), [1]), first)
    call.size("groups", first)
    if columns is not None:
        call.freeze(columns.ids, "the channels of one convolution group")
    if not transposed:
        return rows.data
    members = rows.data.reshape(len(rows.data), groups, -1)
    slices = [np.repeat(c, per_out) for column in members[2:] for c in column.T]
    return make_data(np.repeat(first, per_out), bool(members[1].any()), slices)


def _same_offset(
    call: Call, x: Block, rows: Block, columns: Block | None, groups: int, transposed: bool
) -> tuple[Array, Array]:
    """Groups stay balanced: the same offsets are cut in each. Returns output data and the inner axis."""
    assert columns is not None
    ledger = call.ledger
    ledger.tie(rows.ids.reshape(groups, -1), [0])
    ledger.tie(x.ids.reshape(groups, -1), [0])
    tiled = np.tile(columns.data, (1, groups))
    if transposed:
        ledger.unite(x.ids, rows.ids)
        ledger.consume(x.ids, x.data, rows.data)
        return tiled, rows.ids.reshape(groups, -1)[0]
    ledger.unite(x.ids, tiled[0])
    ledger.consume(x.ids, x.data, tiled)
    return rows.data, columns.ids


@register("_trilinear")
def trilinear(call: Call) -> Label:
    for label in call.tensors:
        call.freeze_label(label, "enters a bilinear form")
    return Label(call.shape())
