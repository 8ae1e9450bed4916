"""The game's closed forms against finite differences and brute force, and its special cases (§5.4)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.dynamics import Utility

N = 6


def _game(seed: int):
    g = torch.Generator().manual_seed(seed)
    theta = torch.randn(N, 4, generator=g, dtype=torch.float64)
    b = torch.randn(N, generator=g, dtype=torch.float64)
    s = torch.rand(N, generator=g, dtype=torch.float64)
    return theta, b, s


def _rivalry(theta, s):
    gram = theta @ theta.T
    return gram @ s - gram.diagonal() * s


@given(st.integers(0, 10_000), st.floats(0, 2), st.floats(0, 1), st.floats(0, 0.5))
@settings(max_examples=60, deadline=None)
def test_gradient_is_the_derivative_of_the_utility(seed, beta, gamma, eta):
    theta, b, s = _game(seed)
    s = s.clamp(0.05, 0.95)
    u = Utility(alpha=0.7, beta=beta, gamma=gamma, eta=eta)
    sq, rivalry, h = theta.square().sum(1), _rivalry(theta, s), 1e-6
    numeric = (u.value(s + h, b, sq, rivalry) - u.value(s - h, b, sq, rivalry)) / (2 * h)
    torch.testing.assert_close(u.gradient(s, b, sq, rivalry), numeric, atol=1e-7, rtol=1e-6)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 2.0]), st.floats(0, 1), st.floats(0, 0.5))
@settings(max_examples=60, deadline=None)
def test_best_response_and_gap_against_a_fine_grid(seed, beta, gamma, eta):
    theta, b, s = _game(seed)
    u = Utility(beta=beta, gamma=gamma, eta=eta)
    sq, rivalry = theta.square().sum(1), _rivalry(theta, s)
    grid = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None].expand(-1, N)
    values = u.value(grid, b, sq, rivalry)
    best = u.best_response(b, sq, rivalry)
    torch.testing.assert_close(u.value(best, b, sq, rivalry), values.max(0).values, atol=1e-5, rtol=1e-5)
    gap = u.nash_gap(s, b, sq, rivalry)
    assert bool((gap >= -1e-12).all())
    torch.testing.assert_close(gap, values.max(0).values - u.value(s, b, sq, rivalry), atol=1e-5, rtol=1e-5)


def test_best_responses_contract_to_a_nash_equilibrium_when_competition_is_small():
    theta, b, s = _game(3)
    u = Utility(beta=1.0, gamma=0.01, eta=0.05)
    sq = theta.square().sum(1)
    for _ in range(200):
        s = u.best_response(b, sq, _rivalry(theta, s))
    assert float(u.nash_gap(s, b, sq, _rivalry(theta, s)).max()) < 1e-12
    other = torch.zeros(N, dtype=torch.float64)
    for _ in range(200):
        other = u.best_response(b, sq, _rivalry(theta, other))
    torch.testing.assert_close(s, other)  # contraction: a unique equilibrium, whatever the start


def test_dominance_holds_against_every_profile_of_the_others():
    theta, b, _ = _game(11)
    u = Utility(beta=0.2, gamma=0.4, eta=0.1)
    gram = theta @ theta.T
    lowest = (gram - torch.diag(gram.diagonal())).clamp(max=0).sum(1)
    dominated = u.dominated(b, lowest)
    assert 0 < int(dominated.sum()) < N
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * N)
    always_zero = torch.stack(
        [u.best_response(b, theta.square().sum(1), _rivalry(theta, c)) == 0 for c in corners]
    ).all(0)
    assert torch.equal(dominated & ~always_zero, torch.zeros(N, dtype=torch.bool))


def test_literal_benefit_is_the_printed_one():
    slope, s = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 1.0])
    assert Utility(benefit="literal").benefits(slope, s).tolist() == [1.0, -1.0]
    assert Utility(benefit="marginal").benefits(slope, s).tolist() == [-2.0, 1.0]


class TestSpecialCases:
    """§5.4: under the paper's conditions the equilibrium ranks players exactly as the heuristics do."""

    def test_magnitude_pruning(self):
        theta, _, _ = _game(5)
        sq = theta.square().sum(1)
        gamma = 1.3 * float(sq.median()) * 1.01
        u = Utility(beta=2.0, gamma=gamma)
        b = 1.3 * sq  # benefit proportional to the norm
        s = u.best_response(b, sq, torch.zeros(N, dtype=torch.float64))
        order = sq.argsort()
        assert bool((s[order].diff() >= 0).all())
        # exactly the small ones are dominated: b < γ ⇔ ‖θ‖² < γ/1.3
        assert torch.equal(s == 0, sq <= gamma / 1.3)
        assert 0 < int((s == 0).sum()) < N

    def test_gradient_pruning(self):
        _, b, _ = _game(6)
        u = Utility(beta=1.0, gamma=0.1)
        s = u.best_response(b, torch.ones(N, dtype=torch.float64), torch.zeros(N, dtype=torch.float64))
        assert bool((s[b.argsort()].diff() >= 0).all())
        assert torch.equal(s == 0, b <= 0.1)

    def test_redundancy(self):
        direction = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
        theta = torch.stack([direction, direction, torch.eye(4, dtype=torch.float64)[1]])
        b = torch.tensor([0.52, 0.5, 0.5], dtype=torch.float64)
        u = Utility(beta=0.05, gamma=0.01, eta=0.6)
        s = torch.ones(3, dtype=torch.float64)
        for _ in range(3000):
            gram = theta @ theta.T
            rivalry = gram @ s - gram.diagonal() * s
            s = (s + 0.01 * u.gradient(s, b, theta.square().sum(1), rivalry)).clamp(0, 1)
        assert s[1] == 0 and s[0] > 0.5 and s[2] > 0.5  # of the twins the less useful one leaves

    def test_rivalry_alone_orders_equal_players(self):
        u = Utility(beta=1.0, eta=0.3)
        rivalry = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
        s = u.best_response(torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64), rivalry)
        assert bool((s.diff() < 0).all())


def test_bad_settings_are_refused():
    with pytest.raises(ValueError):
        Utility(alpha=0)
    with pytest.raises(ValueError):
        Utility(beta=-1)
