"""Spectral radii and condition numbers, exact where small and by iteration where large."""

from __future__ import annotations

import torch
from torch import Tensor

_DENSE = 1500


def spectral_radius(matrix: Tensor, iterations: int = 100) -> float:
    """Largest |eigenvalue| of a square matrix: dense up to 1,500 rows, power iteration (an estimate) above."""
    if matrix.numel() == 0:
        return 0.0
    matrix = matrix.double()
    if matrix.shape[0] <= _DENSE:
        return float(torch.linalg.eigvals(matrix).abs().max())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(matrix.shape[0], generator=generator, dtype=torch.float64).to(matrix.device)
    growth = torch.zeros(())
    for _ in range(iterations):
        x = matrix @ (x / x.norm().clamp_min(1e-300))
        growth = x.norm()
    return float(growth)


def condition_number(matrix: Tensor) -> float:
    """σ_max/σ_min of a matrix, infinite when it is rank-deficient (game, §9.3)."""
    values = torch.linalg.svdvals(matrix.detach().double())
    if values.numel() == 0 or float(values[0]) == 0.0:
        return float("inf")
    smallest = float(values[-1])
    rank_floor = float(values[0]) * max(matrix.shape) * torch.finfo(matrix.dtype).eps
    return float(values[0]) / smallest if smallest > rank_floor else float("inf")
