"""Masks where the loss is strongly convex: how far the penalised one is from the ideal one, and logistic regression.

**The bound.** Let f(m) = L(m⊙θ), θ fixed, be γ-strongly convex on the box [0, 1]^d, m̃ its minimiser there, with support
S, and m* a minimiser of F = f + λR. Let ρ be such that R + (ρ/2)‖·‖² is convex (:attr:`secateurs.maths.Penalty.bend`;
0 for ℓ1), and λρ < γ: then F is (γ − λρ)-strongly convex, and m* the only one. With Δ = m* − m̃,

    ⟨∇F(m*), Δ⟩ ≤ 0                      m* is optimal, m̃ in the box
    ⟨∇f(m̃), Δ⟩ ≥ 0                      m̃ is optimal, m* in the box
    (γ − λρ)·‖Δ‖² ≤ ⟨∇F(m*) − ∇F(m̃), Δ⟩ ≤ −⟨∇F(m̃), Δ⟩ ≤ −λ·⟨R'(m̃), Δ⟩ ≤ λ·Σ_{i: Δ_i<0} R'(m̃_i)·|Δ_i|.

Where Δ_i < 0 there is m̃_i > m*_i ≥ 0, so i is in S, and by Cauchy and Schwarz

    ‖m* − m̃‖ ≤ λ·‖R'(m̃)_S‖ / (γ − λρ).

Over a binary ideal mask of k ones this is λ√k/γ for ℓ1 and λ·R'(1)·√k/(γ − λρ) for the others: a concave R is flatter
at 1, and as long as λρ < γ·(1 − R'(1)) its bound is the smaller one. It is our own reading of the paper's theorems,
which bound the same distance under the same convexity.

**Logistic regression** on two digits with a ridge (γ/2)‖w‖²: ℓ1 on weights by subgradient steps, by proximal steps, and
masks on weights by projected steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..maths import L1, MCP, PENALTIES, Log, Penalty
from ..maths.prox import soft_threshold
from ..spec import derive_seed
from .cells import Result
from .experiments import dataset

Gradient = Callable[[np.ndarray], np.ndarray]


def projected(gradient: Gradient, start: np.ndarray, rate: float, steps: int) -> np.ndarray:
    """Projected gradient descent on [0, 1]^d."""
    m = start
    for _ in range(steps):
        m = np.clip(m - rate * gradient(m), 0.0, 1.0)
    return m


@dataclass(frozen=True)
class Quadratic:
    """½(m − c)ᵀH(m − c), whose minimiser over the box is the binary mask ``ideal``.

    Attributes:
        hessian: (d, d), eigenvalues from ``gamma`` to ``top``. centre: c.
    """

    hessian: np.ndarray
    centre: np.ndarray
    ideal: np.ndarray
    gamma: float
    top: float

    def gradient(self, m: np.ndarray) -> np.ndarray:
        return self.hessian @ (m - self.centre)


def draw_quadratic(seed: int, d: int = 20, gamma: float = 1.0, top: float = 4.0) -> Quadratic:
    """A random one: the gradient at the ideal mask points out of the box, c follows from it."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((d, d)))
    values = np.concatenate([[gamma, top], rng.uniform(gamma, top, d - 2)])
    hessian = (basis * values) @ basis.T
    ideal = (rng.random(d) < 0.3).astype(float)
    outward = np.where(ideal > 0, -1.0, 1.0) * rng.exponential(0.3, d)
    return Quadratic(hessian, ideal - np.linalg.solve(hessian, outward), ideal, gamma, top)


def bound(penalty: Penalty, lam: float, ideal: np.ndarray, gamma: float) -> float:
    """λ·‖R'(m̃)_S‖/(γ − λρ); infinite where λρ ≥ γ."""
    left = gamma - lam * penalty.bend
    if left <= 0:
        return float("inf")
    return lam * float(np.linalg.norm(penalty.slope(ideal)[ideal > 0])) / left


def mask_error(*, penalty: str, lam: float, problems: int, seed: int) -> Result:
    """Over random quadratics: the distance of the penalised mask from the ideal one, and the bound on it."""
    rule = ESTIMATED[penalty]
    distance, most, exact = [], [], 0
    for number in range(problems):
        problem = draw_quadratic(derive_seed(seed, "quadratic", number))
        found = projected(
            lambda m, p=problem: p.gradient(m) + lam * rule.slope(m),  # type: ignore[misc]
            np.full(len(problem.ideal), 0.5),
            1 / (problem.top + lam * rule.bend),
            2000,
        )
        distance.append(float(np.linalg.norm(found - problem.ideal)))
        most.append(bound(rule, lam, problem.ideal, problem.gamma))
        exact += int(np.array_equal(found > 0.5, problem.ideal > 0.5))
    return {
        "distance": float(np.mean(distance)),
        "bound": float(np.mean(most)),
        "largest": float(max(d / b if b > 0 else float(d > 1e-9) for d, b in zip(distance, most))),
        "exact": exact / problems,
    }


ESTIMATED: dict[str, Penalty] = {"l1": L1(), "log, κ = 0.5": Log(0.5), "log, κ = 1": Log(1.0), "mcp, a = 1": MCP(1.0)}


# -- logistic regression ----------------------------------------------------------------------------------

Pair = tuple[np.ndarray, np.ndarray]


def two_digits(data: str, seed: int, limit: int, digits: tuple[int, int] = (3, 8)) -> tuple[Pair, Pair]:
    """Flattened images of two classes in [0, 1] and labels ±1, for training (``limit`` at most) and for testing."""
    held = dataset(data, seed, None)
    parts = []
    for split, most in ((held.train, limit), (held.test, None)):
        x, y = (t.numpy() for t in (split.x, split.y))  # type: ignore[attr-defined]
        chosen = np.flatnonzero(np.isin(y, digits))[:most]
        parts.append((x[chosen].reshape(len(chosen), -1) / 255.0, np.where(y[chosen] == digits[0], 1.0, -1.0)))
    return parts[0], parts[1]


class Logistic:
    """mean log(1 + exp(−y·xᵀw)) + (γ/2)‖w‖²."""

    def __init__(self, pair: Pair, gamma: float) -> None:
        self.x, self.y = pair
        self.gamma = gamma
        # The largest eigenvalue of xᵀx/4n, by power iteration: what steps must stay below.
        v = np.ones(self.x.shape[1])
        for _ in range(30):
            v = self.x.T @ (self.x @ v)
            v /= np.linalg.norm(v)
        self.smooth = float(np.linalg.norm(self.x @ v) ** 2) / (4 * len(self.y)) + gamma

    def gradient(self, w: np.ndarray) -> np.ndarray:
        pull = -self.y / (1 + np.exp(self.y * (self.x @ w)))
        return self.x.T @ pull / len(self.y) + self.gamma * w


def logistic(*, data: str, method: str, lam: float, steps: int, limit: int, gamma: float, seed: int) -> Result:
    """One of METHODS_OF at one λ: accuracy on the test set, weights left, and how restless they are in the last
    hundred steps."""
    train, test = two_digits(data, seed, limit)
    problem = Logistic(train, gamma)
    rate = 1 / problem.smooth
    d = train[0].shape[1]
    w, m = np.zeros(d), np.ones(d)
    masked = method.startswith("mask")
    if masked:  # m⊙θ has a saddle at θ = 0: begin where the ridge alone leads
        for _ in range(steps // 4):
            w = w - rate * problem.gradient(w)
        steps -= steps // 4
        m = np.full(d, 0.5)
    rule = PENALTIES[method.partition(" ")[2]]() if masked else None
    flips = np.zeros(d)
    for step in range(steps):
        before = np.sign(m * w)
        if rule is not None:
            pull = problem.gradient(m * w)
            m, w = np.clip(m - rate * (w * pull + lam * rule.slope(m)), 0.0, 1.0), w - rate * m * pull
        elif method == "subgradient":
            w = w - rate * (problem.gradient(w) + lam * np.sign(w))
        else:
            w = soft_threshold(torch.from_numpy(w - rate * problem.gradient(w)), rate * lam).numpy()
        if step >= steps - 100:
            flips += before * np.sign(m * w) < 0
    final = m * w
    return {
        "test": float((np.sign(test[0] @ final) == test[1]).mean()),
        "kept": int((final != 0).sum()),
        "flips": float(flips.sum()) / 100,
        "restless": int((flips > 0).sum()),
    }


METHODS_OF = {
    "subgradient": "ℓ1 on weights, subgradient steps",
    "prox": "ℓ1 on weights, proximal steps",
    "mask l1": "ℓ1 on masks, projected steps",
    "mask log": "log on masks, projected steps",
}
