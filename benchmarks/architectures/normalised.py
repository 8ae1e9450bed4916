"""A masked network whose norms and attention scales look at the kept width only.

Some libraries cut the width that a norm runs over, or that attention divides by the root of, and accept that
the function changes. Under this mode the masked network does the same, so that such a result can be told from
one with wrong indices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_ARGUMENTS = {
    F.layer_norm: ("input", "normalized_shape", "weight", "bias", "eps"),
    F.rms_norm: ("input", "normalized_shape", "weight", "eps"),
    F.group_norm: ("input", "num_groups", "weight", "bias", "eps"),
}
_MEANS = (torch.mean, Tensor.mean)


class KeptWidth(TorchFunctionMode):
    """Layer, RMS and group norms, and means along the last axis, over what is kept.

    Kept are the entries whose weight is not zero; for a mean, those that are not zero in every position.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and kwargs.get("scale") is None:
            query = args[0] if args else kwargs["query"]
            return func(*args, **{**kwargs, "scale": _columns(query) ** -0.5})
        if func is F.multi_head_attention_forward:
            return func(*_rescaled(args), **kwargs)
        out = func(*args, **kwargs)
        names = _ARGUMENTS.get(func)
        if names is not None:
            given = {**dict(zip(names, args)), **kwargs}
            weight = given.get("weight")
            if weight is not None and weight.dim() == 1 and bool((weight == 0).any()):
                return _grouped(given) if func is F.group_norm else _last(given, func is F.layer_norm)
        if func in _MEANS and out.dim() == args[0].dim() and out.shape[:-1] == args[0].shape[:-1]:
            x = args[0]
            kept = (x != 0).flatten(0, -2).any(0)  # keepdim over the last axis: how RMS norms are written by hand
            return out * len(kept) / kept.sum() if bool(kept.any()) else out
        return out


def _columns(x: Tensor) -> int:
    """How many entries of the last axis are anything but zero everywhere."""
    return max(1, int((x != 0).flatten(0, -2).any(0).sum() if x.dim() < 4 else (x != 0).any(2).sum(-1).max()))


def _rescaled(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """`multi_head_attention_forward`'s arguments with queries that make up for a head's dead columns."""
    width, heads, weight, bias = args[3:7]
    if weight is None:
        return args
    alive = (weight[:width] != 0).any(1).reshape(heads, -1).sum(1).max()
    factor = torch.ones(len(weight), dtype=weight.dtype)
    factor[:width] = (width / heads / alive.clamp_min(1)) ** 0.5
    return *args[:5], weight * factor[:, None], None if bias is None else bias * factor, *args[7:]


def _last(given: dict[str, Any], centred: bool) -> Tensor:
    x, weight = given["input"], given["weight"]
    inside = x[..., weight != 0]
    mean = inside.mean(-1, keepdim=True) if centred else torch.zeros_like(inside[..., :1])
    return _scaled(x, mean, (inside - mean).square().mean(-1, keepdim=True), weight, given)


def _grouped(given: dict[str, Any]) -> Tensor:
    """Channels of (B, C, …); a group's statistics are those of its kept channels."""
    x, weight = given["input"], given["weight"]
    batch, groups = len(x), given["num_groups"]
    split = x.reshape(batch, groups, len(weight) // groups, -1)
    kept = (weight != 0).to(x).reshape(1, groups, -1, 1)
    count = (kept.sum(2, keepdim=True) * split.shape[-1]).clamp_min(1)
    mean = (split * kept).sum((2, 3), keepdim=True) / count
    square = ((split - mean) * kept).square().sum((2, 3), keepdim=True) / count
    shape = (1, -1, *[1] * (x.dim() - 2))
    bias = given.get("bias")
    out = ((split - mean) * (square + given.get("eps", 1e-5)).rsqrt()).reshape(x.shape) * weight.reshape(shape)
    return out if bias is None else out + bias.reshape(shape)


def _scaled(x: Tensor, mean: Tensor, square: Tensor, weight: Tensor, given: dict[str, Any]) -> Tensor:
    eps = given.get("eps")
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    out = (x - mean) * (square + eps).rsqrt() * weight
    bias = given.get("bias")
    return out if bias is None else out + bias
