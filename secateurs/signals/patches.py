"""What every output of a linear map or a convolution reads, as rows: the unfolded patches of its input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

Linear: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
PIECE = 1 << 23  # numbers of patches held at a time


def patches(module: Linear, x: Tensor) -> Iterator[Tensor]:
    """Rows x with y = W·x, W the weight flattened from its second axis on; some at a time, padding included.

    Args:
        x: what the module is given.
    Returns:
        ``(groups, rows, inputs of a group)``.
    """
    if isinstance(module, nn.Linear):
        yield x.reshape(1, -1, module.in_features)
        return
    rank = len(module.kernel_size)
    x = x if x.dim() == rank + 2 else x.unsqueeze(0)
    area = module.weight[0].numel() * module.groups
    step = max(1, PIECE // (area * max(1, x[0, 0].numel())))
    for some in x.split(step):
        windows = F.pad(
            some,
            module._reversed_padding_repeated_twice,
            mode="constant" if module.padding_mode == "zeros" else module.padding_mode,
        )
        for axis, (k, s, d) in enumerate(zip(module.kernel_size, module.stride, module.dilation), start=2):
            windows = windows.unfold(axis, d * (k - 1) + 1, s)[..., ::d]
        # (batch, channels, *positions, *kernel) → (groups, rows, channels of a group · kernel)
        split = windows.unflatten(1, (module.groups, -1)).moveaxis((1, 2), (0, 2 + rank))
        yield split.reshape(module.groups, -1, area // module.groups)
