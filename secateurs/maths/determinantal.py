"""Determinantal point processes: random subsets that are diverse (Kulesza & Taskar 2012).

    P(Y) = det(L_Y)/det(L + I)          the DPP of a positive semidefinite kernel L
    P(Y) = det(L_Y)/e_k(λ), |Y| = k     the k-DPP, e_k the elementary symmetric polynomial of L's eigenvalues

det(L_Y) is the squared volume that the items' features span, so that similar items seldom come together. A draw is
exact, in two steps: which eigenvectors (independently with odds λ; for a k-DPP given that they are k), then a subset
from the projection onto these, item by item, each in proportion to what is left of it when those that were drawn are
projected out: O(n·k²), every step one product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .elementary import choose, log_elementary, marginals, uniform
from .ensembles import Dual, Ensemble, Primal


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
        self._set(Primal(kernel[None] if kernel.dim() == 2 else kernel), single=kernel.dim() == 2)

    @classmethod
    def of_features(cls, features: Tensor) -> Determinantal:
        """L = BBᵀ, of rows of features B, ``(n, d)`` or ``(b, n, d)``; nothing n × n is built where d < n.

        Raises:
            ValueError: features that are not finite.
        """
        single, held = features.dim() == 2, features[None] if features.dim() == 2 else features
        made = cls.__new__(cls)
        dual = held.dim() != 3 or held.shape[2] < held.shape[1]
        made._set(Dual(held) if dual else Primal(held.double() @ held.double().mT), single)
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

    def most_likely(self, k: int) -> Tensor:
        """A subset of size k that is likely: greedily the item that raises det(L_Y) most, ties by lower index (finding
        the most likely is NP-hard; within e⁻ᵏ… of it: Chen et al. 2018, whose Cholesky form this is).

        Returns:
            items in the order in which they were taken, ``(k,)`` or ``(b, k)``.
        Raises:
            ValueError: k is above the rank.
        """
        self._require(torch.full_like(self._ranks, k))
        left = self._ensemble.diagonal().clone()
        each = torch.arange(len(left), device=left.device)
        factors = left.new_zeros(len(left), k, self.size)
        taken = torch.zeros(len(left), k, dtype=torch.long, device=left.device)
        for t in range(k):
            i = taken[:, t] = left.argmax(1)
            known = (factors[each, :t, i][:, None] @ factors[:, :t]).squeeze(1)
            factor = (self._ensemble.row(i) - known) / left[each, i].clamp_min(0).sqrt()[:, None]
            factors[:, t] = factor
            left = left - factor.square()
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
        basis = basis * (place < held[:, None])[:, :, None]
        if bool((held < sizes).any()):
            noise = torch.randn(basis.shape, generator=generator, dtype=basis.dtype, device=generator.device)
            rest = (place >= held[:, None]) & (place < sizes[:, None])
            basis = torch.where(rest[:, :, None], noise.to(basis.device), basis)
        if isinstance(self._ensemble, Dual) or bool((held < sizes).any()):
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


def projection_mask(basis: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Draw from projection DPPs: k items, P(Y) = det(V_Y)².

    Items are drawn one after another in proportion to the squared norm of what is left of their row of V when the rows
    of those drawn are projected out. Gram & Schmidt's coefficients are kept below V itself, so that a step is one
    product of a vector and a matrix.

    Args:
        basis: ``(b, k, n)`` orthonormal rows (Vᵀ), zero beyond each member's own size. sizes: ``(b,)``.
    Returns:
        ``(b, n)`` mask.
    """
    count, k, n = basis.shape
    each = torch.arange(count, device=basis.device)
    known = torch.cat([basis, torch.empty_like(basis)], 1)
    sign = torch.cat([basis.new_ones(k), -basis.new_ones(k)])
    left = basis.square().sum(1)
    draws = 1 - uniform((count, k, 1), generator, basis)  # above 0: no item of height 0 is ever drawn
    out = torch.zeros(count, n, dtype=torch.bool, device=basis.device)
    for t in range(k):
        heights = left.cumsum(1)
        i = torch.searchsorted(heights, draws[:, t] * heights[:, -1:]).squeeze(1)
        active = t < sizes
        out[each[active], i[active]] = True
        norm = left[each, i]
        scale = torch.where(norm > 0, norm.rsqrt(), 0.0)
        coefficients = known[each, : k + t, i] * sign[: k + t] * scale[:, None]
        factor = torch.bmm(coefficients[:, None], known[:, : k + t]).squeeze(1)
        known[:, k + t] = factor
        left = (left - factor.square()).clamp_min_(0)
        left[each, i] = 0.0
    return out


def _orthonormal(rows: Tensor) -> Tensor:
    """An orthonormal basis of what the rows span, in their order; rows of zeros come last and mean nothing."""
    return torch.linalg.qr(rows.mT).Q.mT
