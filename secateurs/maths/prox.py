"""Thresholds: what least squares with a price on being non-zero does to a number, a vector, a group.

    soft   argmin_u ½(u − x)² + λ|u|            = sign(x)·max(|x| − λ, 0)
    hard   argmin_u ½(u − x)² + ½λ²·[u ≠ 0]     = x where |x| > λ, else 0
    best   argmin_u ‖u − x‖₂, at most k non-zero = x at its k largest |x|
    block  argmin_u ½‖u − x‖² + λ‖u‖₂           = x·max(1 − λ/‖x‖, 0)

Soft and hard keep the same entries; soft moves what it keeps by λ, hard leaves it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft_threshold(x: Tensor, threshold: Tensor | float) -> Tensor:
    """sign(x)·max(|x| − threshold, 0), entry by entry; ``threshold`` ≥ 0 broadcasts."""
    return x.sign() * (x.abs() - threshold).clamp_min(0.0)


def hard_threshold(x: Tensor, threshold: Tensor | float) -> Tensor:
    """x where |x| > threshold, else 0: the prox of the price ½·threshold² on every non-zero entry."""
    return torch.where(x.abs() > threshold, x, torch.zeros_like(x))


def best_terms(x: Tensor, k: int) -> Tensor:
    """x at its k largest magnitudes along the last axis, else 0: the projection onto vectors with k non-zero entries.

    Exactly k entries are kept, ties by lower index.
    """
    order = x.abs().sort(dim=-1, descending=True, stable=True).indices[..., :k]
    return torch.zeros_like(x).scatter(-1, order, x.gather(-1, order))


def block_soft_threshold(x: Tensor, threshold: Tensor | float) -> Tensor:
    """x·max(1 − threshold/‖x‖, 0) of every row along the last axis: a group shrinks, or leaves, as one."""
    norm = x.norm(dim=-1, keepdim=True)
    return x * (1.0 - threshold / norm.clamp_min(torch.finfo(x.dtype).tiny)).clamp_min(0.0)
