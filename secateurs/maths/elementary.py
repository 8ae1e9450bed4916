"""Elementary symmetric polynomials e_k(λ) = Σ_{|J|=k} Π_{j∈J} λ_j in log space, and the law that they normalise.

    e_j(λ_1 … λ_i) = e_j(λ_1 … λ_{i−1}) + λ_i·e_{j−1}(λ_1 … λ_{i−1})          (Kulesza & Taskar 2012, algorithm 7)

All terms are positive, so that in log space the recursion loses nothing, whatever the scale of λ: for a fixed j it is a
cumulative log-sum-exp over i. Of subsets J of size k with P(J) ∝ Π_{j∈J} λ_j (*conditional Bernoulli*, a k-DPP's choice
of eigenvectors) the same polynomials give the marginals; leaving one λ out is done by prefixes and suffixes, never by a
division, which would cancel.

A draw needs no polynomials. P(J) does not change when all λ are multiplied by one θ, and independent Bernoulli draws
with odds θλ_j that happen to be k in number have that law. With θ such that k are expected, k is the likeliest number
of all (Darroch 1964), met once in about √(2πk) draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

PIECE = 1 << 22  # random numbers held at a time
_HALVINGS = 14  # θ is only to be good: whatever it is, what is accepted has the same law


def log_elementary(log_values: Tensor, k: int) -> Tensor:
    """log e_0 … log e_k.

    Args:
        log_values: ``(…, n)`` log λ; −∞ where λ = 0.
    Returns:
        ``(…, k + 1)``, −∞ beyond the number of λ > 0.
    """
    row = torch.zeros(*log_values.shape[:-1], log_values.shape[-1] + 1, dtype=log_values.dtype).to(log_values.device)
    out = [row[..., -1]]
    for _ in range(k):
        row = _next(log_values, row)
        out.append(row[..., -1])
    return torch.stack(out, -1)


def log_prefixes(log_values: Tensor, k: int) -> Tensor:
    """log e_j(λ_1 … λ_i) for j = 0 … k and i = 0 … n, ``(…, k + 1, n + 1)``."""
    *batch, n = log_values.shape
    out = torch.zeros(*batch, k + 1, n + 1, dtype=log_values.dtype, device=log_values.device)
    for j in range(k):
        out[..., j + 1, :] = _next(log_values, out[..., j, :])
    return out


def _next(log_values: Tensor, row: Tensor) -> Tensor:
    """log e_{j+1} of all prefixes, ``(…, n + 1)``, from log e_j of them."""
    grown = torch.logcumsumexp(log_values + row[..., :-1], -1)
    return torch.cat([torch.full_like(grown[..., :1], -torch.inf), grown], -1)


def marginals(log_values: Tensor, k: int) -> Tensor:
    """P(j ∈ J) for every j, ``(…, n)``, where P(J) ∝ Π_{j∈J} λ_j over the subsets of size k:
    λ_j·e_{k−1}(λ without λ_j)/e_k(λ).

    Args:
        k: at most the number of λ > 0; NaN where there are fewer.
    """
    if k == 0:
        return torch.zeros_like(log_values)
    before = log_prefixes(log_values, k)
    after = log_prefixes(log_values.flip(-1), k - 1).flip(-1)  # of λ_i … λ_n at i − 1
    # e_{k−1} without λ_i: j of what comes before it, k − 1 − j of what comes after.
    without = torch.logsumexp(before[..., :-1, :-1] + after[..., :, 1:].flip(-2), -2)
    return torch.exp(log_values + without - before[..., -1, -1:])


def choose(log_values: Tensor, k: Tensor, generator: torch.Generator) -> Tensor:
    """Draw subsets J of sizes k with P(J) ∝ Π_{j∈J} λ_j.

    Args:
        log_values: ``(b, n)``. k: ``(b,)``, each at most the number of λ > 0 in its row.
    Returns:
        ``(b, n)`` mask.
    """
    chances = torch.sigmoid(log_values + _tilt(log_values, k)[:, None])
    positive = log_values > -torch.inf
    whole = k == positive.sum(1)  # no finite θ expects them all
    chances = torch.where(whole[:, None], positive.to(chances.dtype), chances)
    out = torch.zeros_like(positive)
    waiting = torch.arange(len(k), device=k.device)
    while len(waiting):
        tries = max(1, min(32, PIECE // (len(waiting) * chances.shape[1])))
        draws = uniform((len(waiting), tries, chances.shape[1]), generator, chances) < chances[waiting, None]
        right = draws.sum(-1) == k[waiting, None]
        found, first = right.max(1)
        out[waiting[found]] = draws[found, first[found]]
        waiting = waiting[~found]
    return out


def uniform(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Uniform on [0, 1), drawn where the generator lives."""
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)


def _tilt(log_values: Tensor, k: Tensor) -> Tensor:
    """log θ with Σ θλ/(1 + θλ) ≈ k, ``(b,)``, by bisection."""
    positive = log_values > -torch.inf
    room = 2.0 + torch.log(torch.tensor(float(log_values.shape[1])))
    low = -torch.where(positive, log_values, -torch.inf).amax(1).nan_to_num(neginf=0.0) - room
    high = -torch.where(positive, log_values, torch.inf).amin(1).nan_to_num(posinf=0.0) + room
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        short = torch.sigmoid(log_values + middle[:, None]).sum(1) < k
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return high
