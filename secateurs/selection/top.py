"""The k largest of very many numbers, exactly k, without sorting them.

A sample says between which two values the k-th largest lies; one pass counts what is above, and only the few in between
are looked at closely. Where the sample misleads, all are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..shapes import Mask, PerPlayer

FEW = 1 << 15  # so many are simply sorted
SAMPLE = 1 << 18


def top_k(priority: PerPlayer, k: int) -> Mask:
    """Mask of the k largest, exactly k, ties by lower index. NaN counts as lowest."""
    n = priority.numel()
    if k <= 0 or k >= n:
        return torch.full_like(priority, k > 0, dtype=torch.bool)
    if n <= FEW or bool(priority.isnan().any()):
        order = torch.sort(torch.nan_to_num(priority, nan=-torch.inf), descending=True, stable=True).indices
        mask = torch.zeros_like(priority, dtype=torch.bool)
        mask[order[:k]] = True
        return mask
    threshold = _kth_largest(priority, k)
    mask = priority > threshold
    short = k - int(mask.count_nonzero())
    equal = torch.nonzero(priority == threshold).flatten()
    mask[equal[:short]] = True
    return mask


def _kth_largest(values: Tensor, k: int) -> Tensor:
    """The k-th largest value, 1 ≤ k ≤ n."""
    n = values.numel()
    sample = values[:: max(1, n // SAMPLE)].sort(descending=True).values
    # The k-th largest of all is near the same rank of the sample: four standard deviations to either side.
    rank, margin = k / n * len(sample), 2 * len(sample) ** 0.5 + 1
    high = sample[max(0, int(rank - margin))] if rank > margin else None
    low = sample[int(rank + margin)] if rank + margin < len(sample) else None
    above = int((values > high).count_nonzero()) if high is not None else 0
    between = torch.ones_like(values, dtype=torch.bool) if high is None else values <= high
    if low is not None:
        between &= values >= low
    few = values[between]
    if not above < k <= above + few.numel():
        few, above = values, 0
    return few.kthvalue(few.numel() - (k - above) + 1).values
