"""The ends of a symmetric operator's spectrum from products alone (Lanczos 1950), with full reorthogonalisation.

After m products the operator, seen from the Krylov space of a random start, is a tridiagonal T_m. T_m's ends approach
the operator's from within, and |A·y − θ·y| = β_m·|s_m| bounds how far a Ritz value θ is from an eigenvalue, s_m being
the last entry of its eigenvector. Without reorthogonalisation rounding would bring back copies of what has converged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ends:
    """The outermost eigenvalues.

    Attributes:
        smallest, largest: approached from within the spectrum.
        error: an eigenvalue lies within this of each. products: how many operator products were made.
        lowest: unit eigenvector of the smallest, ``(dimension,)``.
    """

    smallest: float
    largest: float
    error: float
    products: int
    lowest: Tensor


def ends(
    product: Callable[[Tensor], Tensor],
    dimension: int,
    *,
    steps: int = 200,
    tolerance: float = 1e-6,
    generator: torch.Generator | None = None,
) -> Ends:
    """Smallest and largest eigenvalue.

    Args:
        product: v ↦ A·v for ``(dimension,)`` float64, A symmetric.
        steps: most products. tolerance: stop once both ends are this exact, as a fraction of the largest |eigenvalue|.
    Raises:
        ValueError: no dimension.
    """
    if dimension < 1:
        raise ValueError("an operator on nothing has no eigenvalues")
    generator = generator or torch.Generator().manual_seed(0)
    v = torch.randn(dimension, generator=generator, dtype=torch.float64)
    basis = (v / v.norm()).unsqueeze(0)
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        w = product(basis[-1])
        diagonal.append(float(w @ basis[-1]))
        for _ in range(2):  # once loses digits to cancellation, twice is enough
            w = w - basis.T @ (basis @ w)
        beta = float(w.norm())
        values, vectors = torch.linalg.eigh(_tridiagonal(diagonal, beside))
        scale = float(values.abs().max())
        error = beta * float(vectors[-1, [0, -1]].abs().max())
        whole = len(diagonal) == min(dimension, steps) or beta <= 1e-12 * max(scale, 1e-300)
        if whole or (len(diagonal) > 2 and error <= tolerance * scale):
            return Ends(float(values[0]), float(values[-1]), error, len(diagonal), basis.T @ vectors[:, 0])
        beside.append(beta)
        basis = torch.cat([basis, (w / beta).unsqueeze(0)])


def _tridiagonal(diagonal: list[float], beside: list[float]) -> Tensor:
    off = torch.tensor(beside, dtype=torch.float64)
    return torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
