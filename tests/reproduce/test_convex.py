"""The bound on the penalised mask's distance from the ideal one, over random problems; steps that do not settle."""

from __future__ import annotations

import numpy as np
import pytest

from secateurs.maths import L1, MCP, SCAD, Log, Penalty
from secateurs.reproduce.convex import Logistic, bound, draw_quadratic, mask_error, projected

RULES = [L1(), Log(0.3), Log(1.0), MCP(1.0), SCAD(0.5, 3.0)]


def solved(seed: int, rule: Penalty, lam: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The penalised minimiser to rounding, the ideal mask, and γ."""
    problem = draw_quadratic(seed)
    rate = 1 / (problem.top + lam * rule.bend)
    found = projected(lambda m: problem.gradient(m) + lam * rule.slope(m), np.full(20, 0.5), rate, 4000)
    step = np.clip(found - rate * (problem.gradient(found) + lam * rule.slope(found)), 0, 1)
    assert np.abs(step - found).max() < 1e-12
    return found, problem.ideal, problem.gamma


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_bound_holds(rule: Penalty) -> None:
    """At λ from a twentieth of the largest that keeps the problem convex up to nearly that."""
    largest = min(1.0, 1.0 / rule.bend) if rule.bend else 1.0
    ratios = []
    for seed in range(60):
        for share in (0.05, 0.3, 0.9):
            found, ideal, gamma = solved(seed, rule, share * largest)
            most = bound(rule, share * largest, ideal, gamma)
            distance = float(np.linalg.norm(found - ideal))
            assert distance <= most + 1e-9
            ratios.append(distance / most if most > 0 else 0.0)
    if isinstance(rule, L1):
        assert max(ratios) > 0.25  # it is not so loose that nothing could break it


def test_the_unpenalised_minimiser_is_the_ideal_mask() -> None:
    for seed in range(20):
        found, ideal, _ = solved(seed, L1(), 0.0)
        np.testing.assert_allclose(found, ideal, atol=1e-9)
        values = np.linalg.eigvalsh(draw_quadratic(seed).hessian)
        assert values[0] == pytest.approx(1.0) and values[-1] == pytest.approx(4.0)


def test_concave_penalties_are_nearer_where_their_bound_is_smaller() -> None:
    k = 6
    ideal = np.r_[np.ones(k), np.zeros(14)]
    assert bound(L1(), 0.2, ideal, 1.0) == pytest.approx(0.2 * k**0.5)
    rule = Log(1.0)  # R'(1) = 1/(2·log 2), ρ = 1/log 2
    expected = 0.2 * k**0.5 / (2 * np.log(2)) / (1 - 0.2 / np.log(2))
    assert bound(rule, 0.2, ideal, 1.0) == pytest.approx(expected)
    assert bound(MCP(1.0), 0.2, ideal, 1.0) == 0.0 and bound(Log(0.01), 0.2, ideal, 1.0) == float("inf")
    l1, log, mcp = (mask_error(penalty=p, lam=0.2, problems=40, seed=0) for p in ("l1", "log, κ = 1", "mcp, a = 1"))
    assert log["distance"] < l1["distance"] and mcp["distance"] == pytest.approx(0.0, abs=1e-9)
    assert l1["largest"] <= 1 and log["largest"] <= 1


def test_gradient_of_logistic_regression_by_differences() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((30, 5)), np.where(rng.random(30) < 0.5, 1.0, -1.0)
    problem = Logistic((x, y), 0.3)
    w = rng.standard_normal(5)

    def value(v: np.ndarray) -> float:
        return float(np.log1p(np.exp(-y * (x @ v))).mean() + 0.15 * v @ v)

    numeric = [(value(w + h) - value(w - h)) / 2e-6 for h in 1e-6 * np.eye(5)]
    np.testing.assert_allclose(problem.gradient(w), numeric, atol=1e-8)
    assert problem.smooth == pytest.approx(np.linalg.eigvalsh(x.T @ x / 120)[-1] + 0.3)
