"""What a linear map or a convolution does, as rows: y = W·x for every position, W of ``(groups, outputs, inputs)``.

A row x of a convolution is the patch that it reads at a position, padding included. Of large feature maps only some
positions are looked at, and only their patches are ever copied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Linear: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
PIECE = 1 << 23  # numbers of patches held at a time


def is_linear(module: nn.Module) -> bool:
    """Whether a module computes what its class says, from a weight that is a parameter of its own."""
    for kind in (nn.Linear, *CONVOLUTIONS):
        if isinstance(module, kind):
            same = type(module).forward is kind.forward
            if kind is not nn.Linear:
                same &= type(module)._conv_forward is kind._conv_forward  # type: ignore[union-attr, attr-defined]
            weight = module._parameters.get("weight")  # a parametrised one is computed
            return same and weight is not None and weight.is_floating_point()
    return False


def groups_of(module: Linear) -> int:
    return 1 if isinstance(module, nn.Linear) else module.groups


def as_rows(module: Linear, weight: Tensor) -> Tensor:
    """A tensor of the weight's shape as ``(groups, outputs, inputs)``."""
    groups = groups_of(module)
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def apply(module: Linear, x: Tensor, weight: Tensor) -> Tensor:
    """What the module would return with another weight and no bias."""
    if isinstance(module, nn.Linear):
        return F.linear(x, weight)
    return module._conv_forward(x, weight, None)  # type: ignore[arg-type]


def channel_axis(module: Linear) -> int:
    """Axis of the channels in what the module is given and returns, counted from the end."""
    return -1 if isinstance(module, nn.Linear) else -(module.weight.dim() - 1)


def positions(module: Linear, y: Tensor) -> int:
    """How many rows an output has."""
    return y.numel() // y.shape[channel_axis(module)]


def rows_of(
    module: Linear, x: Tensor, y: Tensor, share: float = 1.0, generator: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Patches and outputs at the same positions, ``(groups, rows, inputs)`` and ``(groups, rows, outputs)``.

    Args:
        x: what the module is given.
        y: of the shape of what it returns.
        share: of the positions to look at, drawn from ``generator`` without repetition.
    """
    total = positions(module, y)
    at = _drawn(total, share, generator)
    outputs = y.movedim(channel_axis(module), -1).reshape(total, groups_of(module), -1)
    for some, rows in _rows_at(module, x, at):
        yield rows, outputs[some].transpose(0, 1)


def patches(module: Linear, x: Tensor) -> Iterator[Tensor]:
    """What every output of a module reads, ``(groups, rows, inputs)``, some rows at a time.

    Args:
        x: what the module is given.
    """
    for _, rows in _rows_at(module, x, None):
        yield rows


def channel_rows(module: Linear, x: Tensor, share: float, generator: torch.Generator) -> Iterator[Tensor]:
    """Every channel at the same positions of what a module is given, ``(groups, rows, channels of a group)``."""
    groups = groups_of(module)
    flat = x.movedim(channel_axis(module), -1).reshape(-1, groups, x.shape[channel_axis(module)] // groups)
    if share < 1:
        flat = flat[_drawn(len(flat), share, generator).to(x.device)]
    for some in flat.split(max(1, PIECE // flat[0].numel())):
        yield some.transpose(0, 1)


def _drawn(total: int, share: float, generator: torch.Generator | None) -> Tensor:
    """A share of so many positions, in order."""
    asked = math.ceil(total * share)
    if asked >= total:
        return torch.arange(total)
    return torch.randperm(total, generator=generator)[:asked].sort().values


def _rows_at(module: Linear, x: Tensor, at: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions (all, in order, if not told) and their patches, ``PIECE`` numbers at a time."""
    windows = _windows(module, x)
    where = windows.shape[: -module.weight.dim() + 1]
    at = torch.arange(math.prod(where)) if at is None else at
    groups = groups_of(module)
    width = module.weight[0].numel() * groups
    for some in at.to(x.device).split(max(1, PIECE // width)):
        rows = windows[torch.unravel_index(some, where)]
        yield some, rows.reshape(len(some), groups, -1).transpose(0, 1)


def _windows(module: Linear, x: Tensor) -> Tensor:
    """What is read, a view (batch, *positions, channels, *kernel); of a linear map (*positions, inputs)."""
    if isinstance(module, nn.Linear):
        return x
    spatial = len(module.kernel_size)
    if x.dim() == spatial + 1:
        x = x.unsqueeze(0)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    x = F.pad(x, module._reversed_padding_repeated_twice, mode=mode).contiguous()
    reach = [d * (k - 1) + 1 for d, k in zip(module.dilation, module.kernel_size)]
    count = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, module.stride)]
    step = x.stride()
    strides = [step[0], *(a * s for a, s in zip(step[2:], module.stride)), step[1]]
    strides += [a * d for a, d in zip(step[2:], module.dilation)]
    return x.as_strided([len(x), *count, x.shape[1], *module.kernel_size], strides)
