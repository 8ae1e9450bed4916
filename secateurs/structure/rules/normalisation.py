"""Batch, layer, group and RMS norms.

Per-channel statistics (batch norm) leave channels free, and γ, β silence them. Statistics over an axis
freeze it; group norm's run over whole groups of channels, which then live and die together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..labels import Label
from .call import Call, register
from .reduction import settle

STATISTICS = "its statistics run over this axis, so cutting it would change them"
STANDARDISED = "its code standardises weights over this axis, so cutting it would change those that stay"


def channelwise(label: Label | None, rank: int) -> Label | None:
    """A per-channel vector laid out to broadcast over (N, C, …)."""
    if label is None:
        return None
    return label.renumber((1, *label.shape, *([1] * (rank - 2))), {0: 1})


def reason_of(call: Call, kind: str) -> str:
    return STANDARDISED if call.of_weights else f"{kind}: {STATISTICS}"


def affine(call: Call, x: Label, scales: Sequence[Label | None], others: Sequence[Label | None]) -> Label:
    """x normalised, times γ plus β: silent where γ and β are; ``others`` are only united."""
    speaking = [1 + i for i, s in enumerate(scales) if s is not None]
    mode = "all" if speaking else "never"
    return call.align([x, *scales, *others], x.shape, mode, over=speaking)


@register(
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update", "miopen_batch_norm", "batch_norm",
)  # fmt: skip
def batch_norm(call: Call) -> list[Label | None]:
    x = call.label("input")
    assert x is not None
    rank = len(x.shape)
    x = call.passing(x, [1], reason_of(call, "batch norm"), keep=True)
    scales = [channelwise(call.label(n), rank) for n in ("weight", "bias")]
    stats = [channelwise(call.label(n), rank) for n in ("running_mean", "running_var")]
    out = affine(call, x, scales, stats)
    channel = x.at(1)
    if channel is not None and channel.dims == (1,):
        # Instance norm folds the batch into the channels; the first example's are the module's.
        features = getattr(call.module, "num_features", channel.ids.size)
        call.size("features", channel.ids[:features])
    return [out] + [None] * (len(call.out) - 1)


@register("native_layer_norm", "layer_norm", "_fused_rms_norm", "rms_norm")
def layer_norm(call: Call) -> Label | list[Label | None]:
    x = call.tensors[0]
    dims = range(len(x.shape) - len(call["normalized_shape"]), len(x.shape))
    reason = reason_of(call, "layer norm" if "layer" in call.name else "RMS norm")
    settled = settle(call, x, dims, reason)
    scales = [call.label(n) for n in ("weight", "bias")]
    for scale in scales:
        if scale is not None and not any(set(b.dims) & set(dims) for b in x.blocks):
            call.freeze_label(scale, reason)
    out = affine(call, settled, scales, [])
    return [out] + [None] * (len(call.out) - 1) if isinstance(call.out, (tuple, list)) else out


@register("native_group_norm", "group_norm")
def group_norm(call: Call) -> Label | list[Label | None]:
    x = call.tensors[0]
    groups = int(call["group"] or call["num_groups"])
    dims = list(range(2, len(x.shape)))
    x = settle(call, x, dims, reason_of(call, "group norm"))
    channel = x.at(1)
    scales = [channelwise(call.label(n), len(x.shape)) for n in ("weight", "bias")]
    out = affine(call, x, scales, [])
    ids = channel.ids if channel is not None and channel.dims == (1,) else None
    if ids is None or groups == 1:
        for block in out.blocks:
            call.freeze(block.ids, reason_of(call, "group norm"))
    else:
        rows = ids.reshape(groups, -1)
        call.ledger.tie(rows, [1])
        call.size("norm-groups", np.ascontiguousarray(rows[:, 0]))
        call.size("norm-channels", ids)
    return [out] + [None] * (len(call.out) - 1) if isinstance(call.out, (tuple, list)) else out


@register("_weight_norm_interface")
def weight_norm(call: Call) -> list[Label | None]:
    """w = g·v/‖v‖ along every dimension but ``dim``: v's other axes keep their size."""
    v, g = call.label("v"), call.label("g")
    assert v is not None and g is not None
    call.forbid(v)
    dim = int(call["dim"] or 0) % len(v.shape)
    keep = []
    for block in v.blocks:
        if block.dims == (dim,):
            keep.append(block)
        else:
            call.freeze(block.ids, "weight norm divides by a norm over this axis")
    out = call.align([Label(v.shape, tuple(keep)), g], call.shape(0), "any")
    return [out, None]
