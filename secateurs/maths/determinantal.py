"""Determinantal point processes: random subsets that are diverse (Kulesza & Taskar 2012).

    P(Y) = det(L_Y)/det(L + I)          the DPP of a positive semidefinite kernel L
    P(Y) = det(L_Y)/e_k(λ), |Y| = k     the k-DPP, e_k the elementary symmetric polynomial of L's eigenvalues

det(L_Y) is the squared volume that the items' features span, so that similar items seldom come together. A draw is
exact, in two steps: which eigenvectors (independently with odds λ; for a k-DPP given that they are k), then a subset
from the projection onto these, item by item, each in proportion to what is left of it when those that were drawn are
projected out: O(n·k²), in products of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .elementary import choose, log_elementary, marginals, uniform
from .ensembles import Dual, Ensemble, Primal
from .projections import projection_mask


class Determinantal:
    """A DPP over n items, or a batch of b of them, one beside the other; of a batch every result has a leading b.

    Args:
        kernel: L, ``(n, n)`` or ``(b, n, n)``, symmetric and positive semidefinite. What rounding in the kernel's own
            dtype explains is forgiven: asymmetry, and small negative eigenvalues, which count as zero. Eigenvalues
            below n·eps·λ_max are not part of the rank. A kernel of zeros has rank 0 and draws nothing.
    Raises:
        ValueError: a kernel that is not square, not finite, asymmetric or indefinite.
    """

    def __init__(self, kernel: Tensor) -> None:
        if kernel.dim() not in (2, 3) or kernel.shape[-1] != kernel.shape[-2] or not kernel.numel():
            raise ValueError(f"a kernel is (n, n) or (b, n, n) with n ≥ 1; this is {tuple(kernel.shape)}")
        self._set(Primal(kernel.reshape(-1, *kernel.shape[-2:])), single=kernel.dim() == 2)

    @classmethod
    def of_features(cls, features: Tensor) -> Determinantal:
        """L = BBᵀ, of rows of features B, ``(n, d)`` or ``(b, n, d)``; nothing n × n is built where d < n.

        Raises:
            ValueError: features that are not of that shape, or not finite.
        """
        if features.dim() not in (2, 3) or not features.numel():
            raise ValueError(f"features are (n, d) or (b, n, d) with n, d ≥ 1; these are {tuple(features.shape)}")
        made = cls.__new__(cls)
        held = features.reshape(-1, *features.shape[-2:])
        n, d = features.shape[-2:]
        made._set(Dual(held) if d < n else Primal(held.double() @ held.double().mT), single=features.dim() == 2)
        return made

    def _set(self, ensemble: Ensemble, single: bool) -> None:
        self._ensemble, self._single = ensemble, single
        self._ranks = (ensemble.values > 0).sum(1)

    # -- what it is ---------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """n, how many items there are."""
        return self._ensemble.size

    @property
    def rank(self) -> int | Tensor:
        """How many eigenvalues are above rounding, which is the most that can be drawn; of a batch ``(b,)``."""
        return int(self._ranks[0]) if self._single else self._ranks

    @property
    def eigenvalues(self) -> Tensor:
        """Ascending, ``(n,)``; of features only the d that need not be zero."""
        return self._out(self._ensemble.values)

    @property
    def expected_size(self) -> Tensor:
        """E|Y| = Σ λ/(1 + λ) of the DPP."""
        return self._out(self._shares().sum(1))

    def log_normalizer(self, k: int | None = None) -> Tensor:
        """log det(L + I), or log e_k(λ): −∞ for k above the rank."""
        if k is None:
            return self._out(self._ensemble.values.log1p().sum(1))
        return self._out(log_elementary(self._ensemble.values.log(), k)[:, k])

    def inclusion(self, k: int | None = None) -> Tensor:
        """P(i ∈ Y), ``(n,)``: K_ii with K = L(L + I)⁻¹, or the k-DPP's marginals, which sum to k.

        Raises:
            ValueError: k is above the rank.
        """
        if k is None:
            return self._out(self._ensemble.weighted(self._shares()))
        self._require(torch.full_like(self._ranks, k))
        return self._out(self._ensemble.weighted(marginals(self._ensemble.values.log(), k)))

    def log_probability(self, subset: Tensor | Sequence[int], k: int | None = None) -> Tensor:
        """log P(Y), −∞ where Y is impossible.

        Args:
            subset: distinct items.
        Raises:
            ValueError: an item that is not there, or is there twice.
        """
        items = torch.as_tensor(subset, dtype=torch.long, device=self._ensemble.values.device).flatten()
        if len(items.unique()) < len(items) or bool(((items < 0) | (items >= self.size)).any()):
            raise ValueError(f"subset {items.tolist()}: distinct items from 0 to {self.size - 1}")
        sign, log = torch.linalg.slogdet(self._ensemble.minor(items))
        log = torch.where(sign > 0, log, -torch.inf)
        if k is not None and len(items) != k:
            log = torch.full_like(log, -torch.inf)
        beyond = len(items) > self._ranks  # a determinant of rounding alone
        return self._out(torch.where(beyond, -torch.inf, log)) - self.log_normalizer(k)

    # -- drawing ------------------------------------------------------------------------------------------

    def sample(self, generator: torch.Generator, k: int | None = None, *, fill: bool = False) -> Tensor:
        """Draw a subset.

        Args:
            k: its size; None: the DPP's, which is random.
            fill: where k is above the rank, draw from the limit δ → 0 of the k-DPP of L + δI: the rank's worth as the
                kernel has it, the rest evenly over what the kernel does not tell apart.
        Returns:
            ascending items, ``(k,)``; of a batch ``(b, k)``.
        Raises:
            ValueError: k is above the rank and not to be filled; or a batch's subsets are not of one size (take
                :meth:`mask`).
        """
        mask = self._draw(generator, k, fill)
        sizes = mask.sum(1)
        if bool((sizes != sizes[0]).any()):
            raise ValueError("the subsets of this batch have different sizes; take mask() instead of sample()")
        return self._out(mask.nonzero()[:, 1].view(len(mask), -1))

    def mask(
        self, generator: torch.Generator, k: int | Sequence[int] | Tensor | None = None, *, fill: bool = False
    ) -> Tensor:
        """A draw as ``(n,)`` or ``(b, n)`` booleans; every member of a batch may have a k of its own, ``(b,)``."""
        return self._out(self._draw(generator, k, fill))

    def most_likely(self, k: int, *, fill: bool = False) -> Tensor:
        """A subset of size k that is likely: greedily the item that raises det(L_Y) most, ties by lower index, in
        the Cholesky form of Chen et al. (2018). The most likely one is NP-hard to find; det(L_Y) is within (k!)² of its
        (Çivril & Magdon-Ismail 2009).

        Args:
            fill: beyond the rank nothing raises it any more; take the lowest indices then.
        Returns:
            items in the order in which they were taken, ``(k,)`` or ``(b, k)``.
        Raises:
            ValueError: k is above the rank and not to be filled.
        """
        self._require(torch.full_like(self._ranks, k), most=self.size if fill else None)
        left = self._ensemble.diagonal().clone()
        each = torch.arange(len(left), device=left.device)
        factors = left.new_zeros(len(left), k, self.size)
        taken = torch.zeros(len(left), k, dtype=torch.long, device=left.device)
        for t in range(k):
            i = taken[:, t] = left.argmax(1)
            known = (factors[each, :t, i][:, None] @ factors[:, :t]).squeeze(1)
            scale = torch.where(t < self._ranks, left[each, i].rsqrt(), 0.0)
            factor = factors[:, t] = (self._ensemble.row(i) - known) * scale[:, None]
            left = left - factor.square()
            left = torch.where((left > -torch.inf) & (t + 1 >= self._ranks)[:, None], 0.0, left)
            left[each, i] = -torch.inf
        return self._out(taken)

    def _draw(self, generator: torch.Generator, k: int | Sequence[int] | Tensor | None, fill: bool) -> Tensor:
        values = self._ensemble.values
        if k is None:
            chosen = uniform(tuple(values.shape), generator, values) < self._shares()
            return self._project(chosen, chosen.sum(1), generator)
        sizes = torch.as_tensor(k, dtype=torch.long, device=values.device).expand(len(values))
        self._require(sizes, most=self.size if fill else None)
        chosen = choose(values.log(), torch.minimum(sizes, self._ranks), generator)
        return self._project(chosen, sizes, generator)

    def _project(self, chosen: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
        """From eigenvectors, ``(b, m)`` booleans, to subsets of ``sizes``, ``(b, n)`` booleans."""
        width = int(sizes.max())
        held = chosen.sum(1)
        index = chosen.to(torch.int8).sort(dim=1, descending=True, stable=True).indices[:, :width]
        basis = self._ensemble.vectors(index)
        if width > index.shape[1]:
            basis = torch.cat([basis, basis.new_zeros(len(basis), width - index.shape[1], self.size)], 1)
        place = torch.arange(width, device=held.device)
        if bool((held < width).any()):
            basis *= (place < held[:, None])[:, :, None]
        short = held < sizes
        if bool(short.any()):
            noise = torch.randn(basis.shape, generator=generator, dtype=basis.dtype, device=generator.device)
            rest = (place >= held[:, None]) & (place < sizes[:, None])
            basis = torch.where(rest[:, :, None], noise.to(basis.device), basis)
        if isinstance(self._ensemble, Dual) or bool(short.any()):
            basis = _orthonormal(basis) * (place < sizes[:, None])[:, :, None]
        return projection_mask(basis, sizes, generator)

    # -- checks and shapes --------------------------------------------------------------------------------

    def _shares(self) -> Tensor:
        return self._ensemble.values / (1 + self._ensemble.values)

    def _require(self, sizes: Tensor, most: int | None = None) -> None:
        limit = self._ranks if most is None else torch.full_like(self._ranks, most)
        bad = (sizes < 0) | (sizes > limit)
        if bool(bad.any()):
            k, rank = int(sizes[bad][0]), int(self._ranks[bad][0])
            hint = "; fill=True draws the rest evenly" if rank < k <= self.size else ""
            raise ValueError(f"k = {k} items from a kernel of {self.size} items and numerical rank {rank}{hint}")

    def _out(self, batch: Tensor) -> Tensor:
        return batch[0] if self._single else batch


def _orthonormal(rows: Tensor) -> Tensor:
    """An orthonormal basis of what the rows span, in their order; rows of zeros come last and mean nothing."""
    return torch.linalg.qr(rows.mT).Q.mT


def included(kernel: Tensor) -> Tensor:
    """P(i ∈ Y) = K_ii = 1 − [(L + I)⁻¹]_ii of the DPP without its spectrum, ``(…, n, n)`` → ``(…, n)``: a
    quarter of the time, to within rounding of 1.

    Args:
        kernel: symmetric and positive semidefinite.
    """
    eye = torch.eye(kernel.shape[-1], dtype=kernel.dtype, device=kernel.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel + eye))
    return 1 - inverse.diagonal(dim1=-2, dim2=-1)
