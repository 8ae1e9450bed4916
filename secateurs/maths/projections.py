"""Draws of projection DPPs: k items with P(Y) = det(V_Y)², V of k orthonormal columns.

Items come one after another, each in proportion to the squared norm of what is left of its row of V when the rows of
those before it are projected out (Gram & Schmidt). That norm is brought up to date for all items once a *round* only.
Some candidates are drawn by it, and one whose remainder has shrunk since is accepted with the ratio of the two.

What is left of a candidate is on the diagonal of the Cholesky factor of their Gram matrix, where *all* before it are
projected out. The first that fails is refused for certain. Whoever passes after it would pass all the more if it had
not been projected out. The second that fails might have passed, so that nothing is said of it, nor of those behind it.
So a round takes in about 2√k candidates, by a product with V.

It is written twice: for one alone on a CPU, where numpy's small steps cost a third of torch's, and for many at once.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .elementary import uniform

EPS = float(np.finfo(np.float64).eps)


def projection_mask(basis: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Draw.

    Args:
        basis: ``(b, k, n)`` orthonormal rows (Vᵀ), zero beyond each member's own size; it may be overwritten.
        sizes: ``(b,)``.
    Returns:
        ``(b, n)`` mask.
    """
    if len(basis) == 1 and basis.device.type == "cpu":
        return torch.from_numpy(_one(basis[0, : int(sizes[0])].numpy(), generator))[None]
    return _many(basis, sizes, generator)


def _one(V: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Of rows ``(k, n)``, a mask ``(n,)``."""
    k, n = V.shape
    out = np.zeros(n, dtype=bool)
    spans, along = np.empty((k, k)), np.empty((k, n))  # an orthonormal basis of the items' rows, and V along it
    left = np.einsum("kn,kn->n", V, V)
    done = 0
    while done < k:
        draws = uniform((2, _candidates(k - done)), generator, torch.empty(0, dtype=torch.float64)).numpy()
        heights = left.cumsum()
        candidates = np.minimum(heights.searchsorted((1 - draws[0]) * heights[-1]), n - 1)
        rows = V[:, candidates].T - along[:done, candidates].T @ spans[:done]
        passed = accepted_of_one(rows @ rows.T, draws[1])
        span = np.linalg.qr(rows[passed].T)[0].T
        fresh = slice(done, done + len(span))
        spans[fresh] = span
        along[fresh] = np.matmul(span, V)
        out[candidates[passed]] = True
        left -= np.einsum("kn,kn->n", along[fresh], along[fresh])
        np.maximum(left, 0.0, out=left)
        left[out] = 0.0
        done = fresh.stop
    return out


def accepted_of_one(gram: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Which candidates a round takes in, ``(s,)``: of those before the second that fails all but the first that does.

    Args:
        gram: of what is left of their rows, ``(s, s)``. draws: uniform, ``(s,)``.
    """
    own, jitter = gram.diagonal(), _jitter(len(gram))
    factor = np.linalg.cholesky(gram + np.diag(own * jitter))
    passed = factor.diagonal() ** 2 > own * np.maximum(draws, 64 * jitter)
    passed &= (~passed).cumsum() <= 1
    return passed


def _many(basis: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """The same of a batch, on any device. ``basis`` is overwritten by what is left of it."""
    count, k, n = basis.shape
    out = torch.zeros(count, n + 1, dtype=torch.bool, device=basis.device)  # a last place for who is not accepted
    left, missing = basis.square().sum(1), sizes.clone()
    while most := int(missing.max()):
        draws = uniform((2, count, _candidates(most)), generator, basis)
        heights = left.cumsum(1)
        candidates = torch.searchsorted(heights, (1 - draws[0]) * heights[:, -1:]).clamp_max_(n - 1)
        rows = basis.gather(2, candidates[:, None].expand(-1, k, -1)).mT
        gram = torch.bmm(rows, rows.mT)
        passed = accepted_of_many(gram, draws[1])
        passed &= passed.cumsum(1) <= missing[:, None]
        both = passed[:, :, None] & passed[:, None]
        factor = torch.linalg.cholesky(torch.where(both, gram, torch.eye(gram.shape[1]).to(gram)))
        span = torch.linalg.solve_triangular(factor, rows * passed[:, :, None], upper=False)
        along = torch.bmm(span, basis)
        basis.baddbmm_(span.mT, along, alpha=-1)
        out.scatter_(1, torch.where(passed, candidates, n), True)
        left = (left - along.square().sum(1)).clamp_min_(0).masked_fill_(out[:, :n], 0.0)
        missing -= passed.sum(1)
    return out[:, :n]


def accepted_of_many(gram: Tensor, draws: Tensor) -> Tensor:
    """The same of a batch: ``(b, s, s)``, ``(b, s)`` → ``(b, s)``."""
    own, jitter = gram.diagonal(dim1=1, dim2=2), _jitter(gram.shape[1])
    # Members that are complete have nothing left, and their Gram matrices are zero.
    factor = torch.linalg.cholesky(gram + torch.diag_embed(own * jitter + (own <= 0).to(own)))
    passed = factor.diagonal(dim1=1, dim2=2).square() > own * draws.clamp_min(64 * jitter)
    passed &= (~passed).cumsum(1) <= 1
    return passed


def _candidates(missing: int) -> int:
    """How many are drawn in a round."""
    return min(missing, 3 * math.isqrt(missing))


def _jitter(size: int) -> float:
    """What keeps the Cholesky factor of so large a Gram matrix real where a candidate comes twice, or as its own twin:
    a share of the diagonal, and so an error of the chance of acceptance. Rounding is below size²·eps."""
    return (size + 8) ** 2 * EPS
