"""Windows over positions: pooling, resampling, unfolding. Channels pass; positions cannot be cut."""

from __future__ import annotations

import numpy as np

from ..labels import Block, Label, louden
from .call import Call, register


def spatial(call: Call) -> Label | list[Label | None]:
    """Batch and channel dimensions keep their labels; labelled positions freeze."""
    x = call.tensors[0]
    lead = len(x.shape) - _window(call.name)
    passed = call.passing(x, range(lead), "a window runs along this axis")
    kept, free = passed.blocks, passed.free
    if isinstance(call.out, (tuple, list)):
        shapes = [tuple(o.shape) for o in call.out]
        return [Label(s, kept if i == 0 else _loud(kept), free) for i, s in enumerate(shapes)]
    return Label(call.shape(), kept, free, x.zero)


def _loud(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    return tuple(Block(b.dims, louden(b.data)) for b in blocks)


def _window(name: str) -> int:
    for rank in (1, 2, 3):
        if f"{rank}d" in name:
            return rank
    return 2


register(
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "mkldnn_max_pool2d", "mkldnn_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "fractional_max_pool2d", "fractional_max_pool3d",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d",
    "upsample_bicubic2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
    "grid_sampler_2d", "grid_sampler_3d",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
    "replication_pad1d", "replication_pad2d", "replication_pad3d",
)(spatial)  # fmt: skip


@register("im2col")
def unfold(call: Call) -> Label:
    """(N, C, H, W) → (N, C·k·k, L): each channel becomes its window's entries."""
    x = call.tensors[0]
    area = int(np.prod(call["kernel_size"]))
    for block in x.blocks:
        if block.dims != (1,):
            call.freeze(block.ids, "a window runs along this axis")
    blocks = tuple(Block((1,), np.repeat(b.data, area, axis=1)) for b in x.blocks if b.dims == (1,))
    return Label(call.shape(), blocks)


@register("pixel_shuffle")
def pixel_shuffle(call: Call) -> Label:
    """(…, C·r², H, W) → (…, C, rH, rW): the r² channels of one output live together."""
    x = call.tensors[0]
    channel = len(x.shape) - 3
    area = int(call["upscale_factor"]) ** 2
    blocks = []
    for block in x.blocks:
        if block.dims == (channel,):
            rows = block.data.reshape(len(block.data), -1, area)
            call.ledger.tie(rows[0], [1])
            columns = [c for k in rows[2:] for c in k.T]
            blocks.append(Block((channel,), np.stack([rows[0, :, 0], rows[1].max(1), *columns])))
        else:
            call.freeze(block.ids, "pixels are shuffled along this axis")
    shape = call.shape()
    return Label(shape, tuple(b for b in blocks if shape[channel] > 1))


@register("pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Label:
    """(…, C, rH, rW) → (…, C·r², H, W): each channel becomes r² neighbours."""
    x = call.tensors[0]
    channel = len(x.shape) - 3
    area = int(call["downscale_factor"]) ** 2
    blocks = []
    for block in x.blocks:
        if block.dims == (channel,):
            blocks.append(Block((channel,), np.repeat(block.data, area, axis=1)))
        else:
            call.freeze(block.ids, "pixels are shuffled along this axis")
    return Label(call.shape(), tuple(blocks))
