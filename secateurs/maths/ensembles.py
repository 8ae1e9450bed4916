"""A positive semidefinite kernel and its spectrum, in the two forms that a determinantal process is given in.

*Primal*: the matrix L itself. *Dual*: L = BBᵀ of ``(n, d)`` features with d < n, whose spectrum is that of the d × d
matrix BᵀB, and whose eigenvectors are B·w/√λ: nothing of n × n is ever formed (Kulesza & Taskar 2012, §3.3). Both are
batches, in float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor


class Ensemble(ABC):
    """A batch of kernels.

    Attributes:
        values: ``(b, m)`` eigenvalues, ascending, those below the numerical rank zero; further ones are zero.
    """

    values: Tensor

    @property
    @abstractmethod
    def size(self) -> int:
        """n."""

    @abstractmethod
    def diagonal(self) -> Tensor:
        """L_ii, ``(b, n)``."""

    @abstractmethod
    def row(self, i: Tensor) -> Tensor:
        """L_i·, one i each, ``(b,)`` → ``(b, n)``."""

    @abstractmethod
    def minor(self, subset: Tensor) -> Tensor:
        """L_Y, ``(s,)`` → ``(b, s, s)``."""

    @abstractmethod
    def vectors(self, index: Tensor) -> Tensor:
        """Eigenvectors by number, as rows, ``(b, k)`` → ``(b, k, n)``. They are only as orthogonal as the form makes
        them."""

    @abstractmethod
    def weighted(self, weights: Tensor) -> Tensor:
        """Σ_m w_m·v_m², ``(b, m)`` → ``(b, n)``: a marginal of every item from those of the eigenvectors."""


class Primal(Ensemble):
    """L itself, ``(b, n, n)``.

    Raises:
        ValueError: not finite, asymmetric or indefinite beyond rounding.
    """

    def __init__(self, kernel: Tensor) -> None:
        eps = _eps(kernel)
        L = kernel.detach().double()
        low, high = L.flatten(1).aminmax(dim=1)
        scale = torch.maximum(high, -low)
        if not bool(scale.isfinite().all()):
            b, i, j = _place((~kernel.isfinite()).double())
            raise ValueError(f"the kernel holds {float(kernel[b, i, j])} at ({i}, {j})")
        skew = (L - L.mT).abs_()
        most = skew.flatten(1).amax(1)
        if bool((most > eps**0.75 * scale).any()):
            b, i, j = _place(skew / scale.clamp_min(torch.finfo(L.dtype).tiny)[:, None, None])
            raise ValueError(
                f"the kernel is not symmetric: {float(L[b, i, j]):g} at ({i}, {j}) and {float(L[b, j, i]):g} at "
                f"({j}, {i}); give (L + Lᵀ)/2 if that is meant"
            )
        self.kernel = (L + L.mT) / 2 if bool(most.any()) else L
        values, self._vectors = _eigh(self.kernel)
        largest = values.abs().amax(1, keepdim=True)
        if bool((values[:, :1] < -(eps**0.5) * largest).any()):
            raise ValueError(
                f"the kernel is not positive semidefinite: its eigenvalues go from {float(values.min()):g} to "
                f"{float(values.max()):g}"
            )
        self.values = torch.where(values > self.size * eps * largest, values, 0.0)

    @property
    def size(self) -> int:
        return self.kernel.shape[1]

    def diagonal(self) -> Tensor:
        return self.kernel.diagonal(dim1=1, dim2=2)

    def row(self, i: Tensor) -> Tensor:
        return self.kernel[torch.arange(len(i), device=i.device), i]

    def minor(self, subset: Tensor) -> Tensor:
        return self.kernel[:, subset][:, :, subset]

    def vectors(self, index: Tensor) -> Tensor:
        return self._vectors.mT[torch.arange(len(index), device=index.device)[:, None], index]

    def weighted(self, weights: Tensor) -> Tensor:
        return (self._vectors.square() @ weights[:, :, None]).squeeze(-1)


class Dual(Ensemble):
    """L = BBᵀ of features B, ``(b, n, d)``.

    Raises:
        ValueError: not finite.
    """

    def __init__(self, features: Tensor) -> None:
        if not bool(features.isfinite().all()):
            b, i, j = _place((~features.isfinite()).double())
            raise ValueError(f"the matrix of features holds {float(features[b, i, j])} at ({i}, {j})")
        self.features = features.detach().double()
        values, self._dual = _eigh(self.features.mT @ self.features)
        floor = self.size * torch.finfo(values.dtype).eps * values.abs().amax(1, keepdim=True)
        self.values = torch.where(values > floor, values, 0.0)

    @property
    def size(self) -> int:
        return self.features.shape[1]

    def diagonal(self) -> Tensor:
        return self.features.square().sum(-1)

    def row(self, i: Tensor) -> Tensor:
        own = self.features[torch.arange(len(i), device=i.device), i]
        return (self.features @ own[:, :, None]).squeeze(-1)

    def minor(self, subset: Tensor) -> Tensor:
        own = self.features[:, subset]
        return own @ own.mT

    def vectors(self, index: Tensor) -> Tensor:
        held = self._dual.mT[torch.arange(len(index), device=index.device)[:, None], index]
        long = held @ self.features.mT
        return long / long.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(long.dtype).tiny)

    def weighted(self, weights: Tensor) -> Tensor:
        inverse = torch.where(self.values > 0, weights / self.values, 0.0)
        return ((self.features @ self._dual).square() @ inverse[:, :, None]).squeeze(-1)


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors; on a CPU by numpy's LAPACK, which takes three quarters of the time
    where torch is built for another maker's processors."""
    if matrix.device.type == "cpu":
        values, vectors = np.linalg.eigh(matrix.numpy())
        return torch.from_numpy(values), torch.from_numpy(vectors)
    values, vectors = torch.linalg.eigh(matrix)
    return values, vectors


def _eps(given: Tensor) -> float:
    """What rounding has left of the numbers that were given, of which float64 knows nothing any more."""
    return torch.finfo(given.dtype if given.is_floating_point() else torch.float64).eps


def _place(values: Tensor) -> tuple[int, int, int]:
    """Where the largest is."""
    b, i, j = (int(x) for x in torch.unravel_index(values.argmax(), values.shape))
    return b, i, j
