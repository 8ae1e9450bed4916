"""Sums, means, maxima, softmax and orderings.

A sum over a prunable axis is exact once masked entries are zero; whatever else is computed along an axis
(mean, maximum, softmax, an order) depends on its size and freezes it. Within a head it leaves the head
prunable as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..labels import Block, Label, make_data
from .call import Call, Result, register

ADDITIVE = ("sum", "nansum")


def settle(call: Call, label: Label, dims: Sequence[int], reason: str) -> Label:
    """Something is computed along ``dims``: freeze what lies there, tie heads where it is a part.

    The label stays: what meets a frozen axis later is frozen with it, for the same reason.
    """
    for block in label.blocks:
        inside = [d for d in block.dims if d in dims]
        if len(inside) == len(block.dims):
            call.ledger.freeze_value(block.ids, f"{reason} (in {call.where})")
        elif inside:
            call.tie_part(block, inside)
    return label


def drop(call: Call, label: Label, dims: Sequence[int], shape: tuple[int, ...], loud: bool = False) -> Label:
    """Remove reduced dimensions from a settled label (kept as size 1 when ``shape`` keeps them)."""
    blocks = []
    for block in label.blocks:
        inside = [d for d in block.dims if d in dims]
        data = block.data
        if len(inside) == len(block.dims):
            continue
        if inside:
            axes = tuple(0 if d in inside else slice(None) for d in block.dims)
            data = make_data(block.ids[axes], loud=True)
        elif loud:
            data = make_data(block.ids, loud=True)
        blocks.append(Block(tuple(d for d in block.dims if d not in dims), data))
    kept = Label(label.shape, tuple(blocks), label.free - set(dims), label.zero)
    if len(shape) == len(label.shape):
        return Label(shape, kept.blocks, kept.free, kept.zero)
    left = [d for d in range(len(label.shape)) if d not in dims]
    return kept.renumber(shape, {d: i for i, d in enumerate(left)})


def over(call: Call, rank: int) -> list[int]:
    """The dimensions of a call's ``dim`` argument; all when it has none."""
    dim = call["dim"]
    if dim is None or dim == []:
        return list(range(rank))
    return [int(d) % rank for d in (dim if isinstance(dim, (list, tuple)) else [dim])] if rank else []


@register(*ADDITIVE, "linalg_vector_norm", "norm")
def additive(call: Call) -> Result:
    label = call.tensors[0]
    dims = over(call, len(label.shape))
    order = call["ord"] if call.name == "linalg_vector_norm" else call["p"] if call.name == "norm" else 1
    order = 2 if order is None else order
    if not isinstance(order, (int, float)) or order <= 0:
        return measured(call)
    blocks = []
    for block in label.blocks:
        if set(block.dims) <= set(dims):
            call.ledger.consume(block.ids, block.data)
        else:
            blocks.append(block)
    rest = settle(call, Label(label.shape, tuple(blocks), label.free, label.zero), dims, "")
    return drop(call, rest, dims, call.shape())


MEAN = "the mean runs over this axis, so cutting it would change the mean"
REASONS = {
    "mean": MEAN,
    "var": "the variance runs over this axis",
    "std": "the standard deviation runs over this axis",
    "var_mean": "mean and variance run over this axis",
    "std_mean": "mean and deviation run over this axis",
}
QUIET = ("mean", "std", "var", "amax", "amin", "max", "min", "median", "aminmax", "var_mean", "std_mean")


@register(
    "mean", "var", "std", "var_mean", "std_mean", "amax", "amin", "max", "min", "argmax", "argmin", "prod",
    "logsumexp", "any", "all", "median", "mode", "kthvalue", "count_nonzero", "aminmax",
)  # fmt: skip
def measured(call: Call) -> Result:
    label = call.tensors[0]
    if call.name in ("max", "min") and len(call.tensors) > 1:
        return call.align(call.tensors, call.shape(), "all")
    dims = over(call, len(label.shape))
    settled = settle(call, label, dims, REASONS.get(call.name, f"{call.name} runs over this axis"))
    loud = call.name not in QUIET
    if isinstance(call.out, (tuple, list)):
        return [drop(call, settled, dims, call.shape(i), loud or i > 0) for i in range(len(call.out))]
    return drop(call, settled, dims, call.shape(), loud)


@register(
    "softmax", "_softmax", "log_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod",
    "logcumsumexp", "cummax", "cummin", "sort", "argsort", "topk", "renorm",
    "_fft_r2c", "_fft_c2c", "_fft_c2r",
)  # fmt: skip
def along(call: Call) -> Label | list[Label | None]:
    label = call.tensors[0]
    dims = over(call, len(label.shape)) if call["dim"] is not None else [len(label.shape) - 1]
    settled = settle(call, label, dims, f"{call.name.strip('_')} runs over this axis")
    if isinstance(call.out, (tuple, list)):
        return [_same(settled, call.shape(i), dims) for i in range(len(call.out))]
    return _same(settled, call.shape(), dims)


def _same(label: Label, shape: tuple[int, ...], dims: Sequence[int]) -> Label:
    blocks = [Block(b.dims, make_data(b.ids, loud=True)) for b in label.blocks if not _resized(b, label, shape)]
    return Label(shape, tuple(blocks), label.free - set(dims))


def _resized(block: Block, label: Label, shape: tuple[int, ...]) -> bool:
    return any(label.shape[d] != shape[d] for d in block.dims)
