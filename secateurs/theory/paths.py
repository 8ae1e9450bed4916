"""Soft against hard thresholds: the same entries, kept shrunk or kept whole; and the same in two iterations.

Orthogonal design, XᵀX = I: least squares splits into single numbers z = Xᵀy, and

    lasso      argmin_u ½‖y − Xu‖² + λ‖u‖₁           = soft(z, λ)         biased by −λ·sign on what it keeps
    ℓ0         argmin_u ½‖y − Xu‖² + ½λ²·‖u‖₀        = hard(z, λ)         no bias: a projection
    best k     argmin_u ‖y − Xu‖, ‖u‖₀ ≤ k           = the k largest |z|  magnitude pruning

keep the same set at the same λ (survey *magnitude*: iterative magnitude pruning as hard thresholding). With fewer
measurements than unknowns, y = Ax, the thresholds are iterated between gradient steps (compressed sensing):

    ISTA   u ← soft(u − μAᵀ(Au − y), μλ)             (Daubechies et al. 2004)
    IHT    u ← best_k(u − μAᵀ(Au − y))               (Blumensath & Davies 2009; the step of 2010)

and the one-shot cut, best_k(Aᵀy), stands beside them as pruning without retraining does beside pruning in rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maths.prox import best_terms, hard_threshold, soft_threshold


@dataclass(frozen=True)
class Paths:
    """Solutions over λ, one row a λ, one column an entry.

    Attributes:
        thresholds: ``(λs,)``. soft, hard: ``(λs, entries)``.
    """

    thresholds: Tensor
    soft: Tensor
    hard: Tensor

    @property
    def kept(self) -> Tensor:
        """``(λs,)``, entries that are not zero; the same in both paths."""
        return (self.hard != 0).sum(1)

    def bias(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """``(λs,)`` each: mean of sign(z)·(solution − z) over what is kept; −λ for soft, 0 for hard; NaN where none."""
        kept = self.hard != 0
        return tuple(  # type: ignore[return-value]
            ((s - values) * values.sign() * kept).sum(1) / kept.sum(1) for s in (self.soft, self.hard)
        )


def orthogonal_paths(values: Tensor, thresholds: Tensor) -> Paths:
    """Both paths for z = Xᵀy, ``(entries,)``, over ``thresholds``."""
    levels = thresholds[:, None]
    rows = values.expand(len(thresholds), -1)
    return Paths(thresholds, soft_threshold(rows, levels), hard_threshold(rows, levels))


@dataclass(frozen=True)
class Sensing:
    """Problems y = Ax side by side, x with k entries that are not zero.

    Attributes:
        A: ``(problems, measurements, unknowns)``, columns of unit norm. x: ``(problems, unknowns)``.
    """

    A: Tensor
    x: Tensor

    @property
    def y(self) -> Tensor:
        """``(problems, measurements)``, without noise."""
        return torch.einsum("pmn,pn->pm", self.A, self.x)


def sensing(unknowns: int, measurements: int, k: int, problems: int, generator: torch.Generator) -> Sensing:
    """Gaussian matrices, supports uniform, the entries on them Gaussian."""
    draw = {"generator": generator, "dtype": torch.float64}
    A = torch.randn(problems, measurements, unknowns, **draw)  # type: ignore[call-overload]
    A = A / A.norm(dim=1, keepdim=True)
    support = torch.rand(problems, unknowns, **draw).argsort(1)[:, :k]  # type: ignore[call-overload]
    entries = torch.randn(problems, k, **draw)  # type: ignore[call-overload]
    return Sensing(A, torch.zeros(problems, unknowns, dtype=torch.float64).scatter(1, support, entries))


def one_shot(problem: Sensing, k: int) -> Tensor:
    """best_k(Aᵀy): one threshold, no iteration."""
    return best_terms(_adjoint(problem.A, problem.y), k)


def ista(problem: Sensing, share: float = 0.01, steps: int = 300) -> Tensor:
    """The lasso by proximal gradient steps of 1/‖A‖², from zero.

    Args:
        share: λ as a fraction of ‖Aᵀy‖∞, above which everything is zero.
    Returns:
        ``(problems, unknowns)``. The objective never rises (tested).
    """
    A, y = problem.A, problem.y
    step = torch.linalg.matrix_norm(A, 2).square().reciprocal()[:, None]
    level = share * _adjoint(A, y).abs().amax(1, keepdim=True)
    u = torch.zeros_like(problem.x)
    for _ in range(steps):
        before = u
        u = soft_threshold(u - step * _adjoint(A, _forward(A, u) - y), step * level)
        if _settled(before, u):
            break
    return u


def iht(problem: Sensing, k: int, steps: int = 300) -> Tensor:
    """Iterative hard thresholding with the adaptive step of Blumensath & Davies 2010.

    μ = ‖g_S‖²/‖A·g_S‖² is the exact line search within the support S. Where the support changes, μ is shrunk until
    μ ≤ 0.99·‖Δ‖²/‖A·Δ‖², which makes ‖y − Au‖ fall in every step.
    """
    A, y = problem.A, problem.y
    u = one_shot(problem, k)
    for _ in range(steps):
        g = _adjoint(A, y - _forward(A, u))
        inside = torch.where(u != 0, g, torch.zeros_like(g))
        step = _ratio(inside, _forward(A, inside))
        before, u = u, _safe_step(A, u, g, step, k)
        if _settled(before, u):
            break
    return u


def _settled(before: Tensor, after: Tensor) -> bool:
    """Whether a step moved nothing by more than 10⁻¹⁰ of the largest entry."""
    return float((after - before).abs().max()) <= 1e-10 * float(after.abs().max())


def _safe_step(A: Tensor, u: Tensor, g: Tensor, step: Tensor, k: int) -> Tensor:
    """The thresholded step, its length halved where it changes the support and is too long for it."""
    for _ in range(60):
        after = best_terms(u + step * g, k)
        moved = after - u
        same = ((after != 0) == (u != 0)).all(1, keepdim=True)
        long = ~same & (step > 0.99 * _ratio(moved, _forward(A, moved)))
        if not bool(long.any()):
            break
        step = torch.where(long, 0.5 * step, step)
    return after


def _ratio(v: Tensor, image: Tensor) -> Tensor:
    """‖v‖²/‖Av‖², 0 where v is nothing."""
    top, bottom = v.square().sum(1, keepdim=True), image.square().sum(1, keepdim=True)
    return torch.where(bottom > 0, top / bottom.clamp_min(1e-300), torch.zeros_like(top))


def _forward(A: Tensor, u: Tensor) -> Tensor:
    return torch.einsum("pmn,pn->pm", A, u)


def _adjoint(A: Tensor, r: Tensor) -> Tensor:
    return torch.einsum("pmn,pm->pn", A, r)


def recovered(found: Tensor, problem: Sensing) -> Tensor:
    """Per problem, whether the k largest entries of what was found lie on the true support, ``(problems,)``."""
    k = int((problem.x[0] != 0).sum())
    return ((best_terms(found, k) != 0) == (problem.x != 0)).all(1)


def recovery_curves(
    unknowns: int, k: int, measurements: list[int], problems: int, seed: int = 0
) -> Mapping[str, list[int]]:
    """How many of ``problems`` supports each way recovers, by number of measurements."""
    ways: dict[str, Callable[[Sensing], Tensor]] = {
        "one shot": lambda p: one_shot(p, k),
        "soft, iterated (ISTA)": ista,
        "hard, iterated (IHT)": lambda p: iht(p, k),
    }
    out: dict[str, list[int]] = {name: [] for name in ways}
    for m in measurements:
        problem = sensing(unknowns, m, k, problems, torch.Generator().manual_seed(1000 * seed + m))
        for name, way in ways.items():
            out[name].append(int(recovered(way(problem), problem).sum()))
    return out


__all__ = ["Paths", "Sensing", "iht", "ista", "one_shot", "orthogonal_paths", "recovered", "recovery_curves", "sensing"]
