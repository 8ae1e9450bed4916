"""Hard concrete gates against sampling: probabilities, the gradient of the expected loss, the price that clears."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from secateurs import Budget
from secateurs.dynamics import L0, Arithmetic, Pulse
from secateurs.dynamics.l0 import BETA, GAMMA, ZETA, expected_gate, gate, open_probability
from secateurs.partition import Players, players

from .nets import batch, cross_entropy, find, mlp


def test_one_gate_by_hand() -> None:
    """At u = ½ the noise is 0, so a = 0 gives y = ½ and z = ½·1.2 − 0.1 = ½."""
    a, u = torch.zeros(1, dtype=torch.float64), torch.full((1,), 0.5, dtype=torch.float64)
    z, slope = gate(a, u)
    assert float(z) == pytest.approx(0.5) and float(slope) == pytest.approx(0.25 / BETA * 1.2)
    z, slope = gate(a + 4, u)  # y = σ(6) = 0.9975, stretched to 1.097: shut at 1
    assert float(z) == 1 and float(slope) == 0
    assert float(open_probability(a)) == pytest.approx(1 / (1 + math.exp(BETA * math.log(0.1 / 1.1))))
    assert [float(expected_gate(a + d)) for d in (0, -9, 9)] == pytest.approx([0.5, 0, 1], abs=1e-15)


@pytest.mark.parametrize("a", [-3.0, -1.0, 0.0, 1.0, 2.5])
def test_the_probability_of_an_open_gate_against_draws(a: float) -> None:
    """Clopper–Pearson interval at 1 − 10⁻⁶; a formula with the shift's sign wrong is far outside."""
    n = 40_000
    u = torch.rand(n, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    opened = int((gate(torch.full((n,), a, dtype=torch.float64), u)[0] > 0).sum())
    interval = stats.binomtest(opened, n).proportion_ci(1 - 1e-6, "exact")
    p = float(open_probability(torch.tensor(a, dtype=torch.float64)))
    assert interval.low <= p <= interval.high
    wrong = 1 / (1 + math.exp(-(a + BETA * math.log(-GAMMA / ZETA))))
    assert not interval.low <= wrong <= interval.high


def test_the_slope_of_a_gate_is_its_derivative() -> None:
    g = torch.Generator().manual_seed(0)
    a = 3 * torch.randn(500, generator=g, dtype=torch.float64)
    u = torch.rand(500, generator=g, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    h = 1e-6
    numeric = (gate(a + h, u)[0] - gate(a - h, u)[0]) / (2 * h)
    smooth = ((gate(a, u)[0] > 1e-4) & (gate(a, u)[0] < 1 - 1e-4)) | (gate(a + h, u)[0] == gate(a - h, u)[0])
    assert int(smooth.sum()) > 450
    torch.testing.assert_close(gate(a, u)[1][smooth], numeric[smooth], rtol=0, atol=1e-7)


class Unscaled(L0):
    """Keeps every step's gradient, in the loss's own unit, and moves nothing."""

    seen: list[Tensor]

    def step(self, players: Players, state: dict[str, Any], pulse: Pulse) -> Tensor:
        self.seen.append(pulse.slope * gate(state["log_alpha"], state["noise"])[1])
        state["noise"] = self._noise(players, pulse.step + 1)
        return gate(state["log_alpha"], state["noise"])[0]


def test_the_gradient_is_that_of_the_expected_loss() -> None:
    """E_u[L] by Monte Carlo, differences at common noise, against the mean of the gradients that steps feel; their own
    standard errors give the interval (Bonferroni over the players, 1 − 10⁻⁴ in all)."""
    draws, h = 4000, 0.05
    model, (x, y) = mlp(widths=(3, 4, 3)), batch((3,))
    found = find(model, x)
    theta = [p.detach().clone() for p in model.parameters()]
    rule = Unscaled(Budget(groups=0.5), warmup=0, horizon=draws, start=0.5)
    rule.seen = []
    optimizer = rule.wrap(torch.optim.SGD(model.parameters(), 0.0), found)
    for _ in range(draws):
        optimizer.zero_grad()
        cross_entropy(model, x, y).backward()
        optimizer.step()
    felt = torch.stack(rule.seen)
    mean, error = felt.mean(0), felt.std(0) / math.sqrt(draws)

    g = torch.Generator().manual_seed(8)
    u = torch.rand(20_000, 4, generator=g, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)

    def losses(a: Tensor) -> Tensor:
        """L of every draw, all networks at once."""
        z = gate(a.expand_as(u), u)[0]
        hidden = (x @ theta[0].T + theta[1])[None] * z[:, None, :]
        out = hidden.relu() @ theta[2].T + theta[3]
        return (
            nn.functional.cross_entropy(out.flatten(0, 1), y.repeat(len(u)), reduction="none").view(len(u), -1).mean(1)
        )

    bound = stats.norm.ppf(1 - 1e-4 / 8)
    for i in range(4):
        shift = torch.zeros(4, dtype=torch.float64)
        shift[i] = h
        slope = (losses(0.5 + shift) - losses(0.5 - shift)) / (2 * h)
        numeric, spread = float(slope.mean()), float(slope.std()) / math.sqrt(len(u))
        allowed = bound * math.hypot(float(error[i]), spread) + 0.01 * abs(numeric)  # the difference's own bias, h²/6
        assert abs(float(mean[i]) - numeric) <= allowed
        assert abs(-float(mean[i]) - numeric) > allowed  # the test can tell a sign


def _expected(found: Players, a: Tensor) -> float:
    return found.resource("params").amount(found.mass(open_probability(a)))


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_the_expected_amount_follows_the_path(granularity: str) -> None:
    model = mlp(widths=(6, 10, 8, 3))
    found = find(model, batch((6,))[0], granularity)
    optimizer = L0(Budget(params=0.4), warmup=3, horizon=40).wrap(torch.optim.Adam(model.parameters(), 0.01), found)
    dense = found.amount("params")
    bound = 0
    for k in range(43):
        optimizer.zero_grad()
        cross_entropy(model, *batch((6,), seed=k)).backward()
        optimizer.step()
        state, path = optimizer.state_of, optimizer.dynamics.amounts(optimizer.dynamics.settings.closed(k))["params"]
        share = (_expected(found, state["log_alpha"]) - path) / dense
        assert share <= 1e-9
        if state["price"] > 0:
            bound += 1
            assert share >= -2e-4
    assert bound > 15  # at other steps slopes shut more gates than the path asks for
    # A draw at the end has about as many as are expected: binomial spread, five standard errors.
    p = open_probability(state["log_alpha"])
    spread = math.sqrt(float((p * (1 - p)).sum()))
    assert abs(float((optimizer.s > 0).sum() - p.sum())) <= 5 * spread + 1


def test_a_price_that_is_given_is_charged_by_hand() -> None:
    """Two neurons of equal rent, no slope: a ← a − rate·λ·P(1−P), since each costs its share of the headcount, 1."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1)).double()
    found = players(model, torch.zeros(2, 2, dtype=torch.float64))
    rule = L0(Budget(groups=1), warmup=1, horizon=5, price=0.5, rate=0.2, start=0.0)
    optimizer = rule.wrap(torch.optim.SGD(model.parameters(), 0.1), found)
    for expected in (0.0, -0.2 * 0.5 * (p := float(open_probability(torch.zeros(1)))) * (1 - p)):
        for q in model.parameters():
            q.grad = torch.zeros_like(q)
        optimizer.step()
        assert optimizer.state_of["log_alpha"].tolist() == pytest.approx([expected] * 2, rel=1e-5)


def test_noise_is_a_function_of_seed_and_step() -> None:
    found = find(mlp(), batch((6,))[0])
    first, again, other = (L0(Budget(groups=0.5), seed=s) for s in (0, 0, 1))
    assert torch.equal(first._noise(found, 5), again._noise(found, 5))
    assert not torch.equal(first._noise(found, 5), first._noise(found, 6))
    assert not torch.equal(first._noise(found, 5), other._noise(found, 5))
    many = np.concatenate([first._noise(found, k).numpy() for k in range(400)])
    assert stats.kstest(many, "uniform").pvalue > 1e-4


def test_the_harvest_is_without_noise() -> None:
    model, (x, y) = mlp(widths=(6, 10, 8, 3)), batch((6,))
    optimizer = L0(Budget(groups=0.5), warmup=0, horizon=2).wrap(
        torch.optim.SGD(model.parameters(), 0.1), find(model, x)
    )
    for _ in range(2):
        optimizer.zero_grad()
        cross_entropy(model, x, y).backward()
        optimizer.step()
    optimizer.state_of["log_alpha"] = a = torch.linspace(-3, 3, 18, dtype=torch.float64)
    raw = optimizer.weights.raw[0].clone()
    small = optimizer.harvest()
    assert torch.equal(optimizer.kept, torch.arange(18) >= 9)
    torch.testing.assert_close(small[0].weight, (raw * expected_gate(a)[:10, None])[9:])


def test_gates_that_are_all_shut_are_kept_by_their_benefit() -> None:
    """log α stands at its end for everyone; −∂L/∂s says who would be missed most."""
    model = mlp()
    found = find(model, torch.randn(2, 6, dtype=torch.float64))
    rule = L0(Budget(groups=4), price=100.0, start=-8.0, warmup=0, horizon=4)
    state = rule.init(found)
    slope = torch.tensor([0.0, -5.0, 1.0, -1.0, 2.0, 3.0, -4.0, 0.5, -2.0], dtype=torch.float64)
    s = rule.begin(found, state)
    for step in range(4):
        s = rule.step(found, state, Pulse(step, s, slope, Arithmetic(found.gates, [], s)))
    assert state["log_alpha"].unique().numel() == 1
    assert rule.keep(found, state, rule.final(found, state, s)).nonzero().flatten().tolist() == [1, 3, 6, 8]
