"""The game at fixed prices: (17) and (18) worked by hand, and its certificate against brute force."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateurs import Equilibrium, Utility
from secateurs.dynamics import EPSILON, Arithmetic, FixedPrices, Participating, Pulse, participants
from secateurs.partition import Players

from .nets import batch, cross_entropy, find, mlp


def _two_neurons() -> tuple[nn.Sequential, Players]:
    """Rows (3, 4), (1, 0) with biases 0: ‖θ‖² = 25, 1 and ⟨θ_1, θ_2⟩ = 3."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
        model[0].bias.zero_()
    return model, find(model, torch.ones(2, 2, dtype=torch.float64))


def _step(found: Players, dynamics: FixedPrices, s: list[float], slope: list[float]) -> list[float]:
    held, p = torch.tensor(s, dtype=torch.float64), torch.tensor(slope, dtype=torch.float64)
    raw = [q.detach() for q in found.gates.parameters]
    return dynamics.step(found, dynamics.init(found), Pulse(0, held, p, Arithmetic(found.gates, raw, held))).tolist()


def test_one_step_by_hand() -> None:
    """α=2, β=0.01, γ=0.1, η=0.05, η_s=0.1, s=(0.5, 0.8), ∂L/∂s=(−0.4, 0.3).

    Marginal: b = (0.4, −0.3);
      ∂U_1 = 2·0.4 − 2·0.01·25·0.5 − 0.1 − 0.05·0.8·3 = 0.8 − 0.25 − 0.1 − 0.12 = 0.33   → 0.533
      ∂U_2 = −0.6 − 0.016 − 0.1 − 0.05·0.5·3 = −0.791                                      → 0.7209
    Literal: b = s·∂L/∂s = (−0.2, 0.24);
      ∂U_1 = −0.4 − 0.25 − 0.1 − 0.12 = −0.87 → 0.413;  ∂U_2 = 0.48 − 0.016 − 0.1 − 0.075 = 0.289 → 0.8289
    """
    _, found = _two_neurons()
    prices: dict[str, Any] = {"alpha": 2.0, "beta": 0.01, "gamma": 0.1, "eta": 0.05}
    marginal = _step(found, FixedPrices(Utility(**prices), 0.1), [0.5, 0.8], [-0.4, 0.3])
    assert marginal == pytest.approx([0.533, 0.7209], abs=1e-12)
    literal = _step(found, FixedPrices(Utility(**prices, benefit="literal"), 0.1), [0.5, 0.8], [-0.4, 0.3])
    assert literal == pytest.approx([0.413, 0.8289], abs=1e-12)
    clipped = _step(found, FixedPrices(Utility(**prices), 100.0), [0.5, 0.8], [-0.4, 0.3])
    assert clipped == [1.0, 0.0]


class Half(FixedPrices):
    """Everyone begins half-way."""

    def begin(self, players: Players, state: dict[str, Any]) -> Tensor:
        return torch.full((players.count,), 0.5, dtype=players.dtype)


def test_alternating_looks_at_the_new_weights_with_the_same_gradient() -> None:
    """SGD moves θ first; the slope is then ⟨∂L/∂θ̃, θ_new⟩. By hand: θ_new = θ − lr·s·g."""
    results = {}
    for updates in ("simultaneous", "alternating"):
        model, found = _two_neurons()
        optimizer = Participating(
            torch.optim.SGD(model[0].parameters(), 0.1),
            found,
            Half(Utility(), 0.01),
            gauge="none",
            updates=updates,  # type: ignore[arg-type]
        )
        gradient = torch.tensor([[1.0, -2.0], [0.5, 0.5]], dtype=torch.float64)
        model[0].weight.grad, model[0].bias.grad = gradient.clone(), torch.zeros(2, dtype=torch.float64)
        optimizer.step()
        results[updates] = optimizer.s.tolist()
    # slopes: (3·1 − 4·2, 0.5) = (−5, 0.5); new rows (2.95, 4.1), (0.975, −0.025): (−5.25, 0.475)
    assert results["simultaneous"] == pytest.approx([0.5 + 0.05, 0.5 - 0.005], abs=1e-12)
    assert results["alternating"] == pytest.approx([0.5 + 0.0525, 0.5 - 0.00475], abs=1e-12)


def _gram(model: nn.Sequential, layer: int) -> Tensor:
    """⟨θ_i, θ_j⟩ by loops: row and bias."""
    w, b = model[layer].weight.detach(), model[layer].bias.detach()
    n = len(b)
    out = torch.zeros(n, n, dtype=torch.float64)
    for i, j in itertools.product(range(n), repeat=2):
        out[i, j] = sum(w[i, k] * w[j, k] for k in range(w.shape[1])) + b[i] * b[j]
    return out


@pytest.mark.parametrize("seed", range(4))
def test_certificate_against_brute_force(seed: int) -> None:
    model, (x, _) = mlp(seed=seed), batch((6,))
    found = find(model, x)
    u = Utility(alpha=1.5, beta=3.0, gamma=0.05, eta=0.8)
    g = torch.Generator().manual_seed(seed)
    b = torch.rand(9, generator=g, dtype=torch.float64)
    s = torch.rand(9, generator=g, dtype=torch.float64)
    kept = s > 0.4
    raw = [p.detach() for p in found.gates.parameters]
    dynamics = FixedPrices(u)
    state = dynamics.init(found) | {"benefit": b}
    certificate = dynamics.certify(found, state, s, kept, Arithmetic(found.gates, raw, s))
    gaps, out, radius = [], [], 0.0
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    for layer, (start, stop) in {0: (0, 5), 2: (5, 9)}.items():
        gram = _gram(model, layer)
        best = torch.zeros(stop - start, dtype=torch.float64)
        for i in range(stop - start):
            me = start + i
            rivalry = sum(float(s[start + j] * gram[i, j]) for j in range(stop - start) if j != i)
            value = u.alpha * b[me] * grid - u.beta * gram[i, i] * grid**2 - u.gamma * grid - u.eta * grid * rivalry
            own = float(u.alpha * b[me] * s[me] - u.beta * gram[i, i] * s[me] ** 2 - u.gamma * s[me])
            gaps.append(float(value.max()) - (own - u.eta * float(s[me]) * rivalry))
            out.append(u.alpha * float(b[me]) < u.gamma + u.eta * rivalry)
            best[i] = grid[value.argmax()]
        inside = [i for i in range(stop - start) if 0 < best[i] < 1]
        jacobian = torch.zeros(len(inside), len(inside), dtype=torch.float64)
        for a, i in enumerate(inside):
            for c, j in enumerate(inside):
                if i != j:
                    jacobian[a, c] = -u.eta * gram[i, j] / (2 * u.beta * gram[i, i])
        if len(inside) > 1:
            radius = max(radius, float(torch.linalg.eigvals(jacobian).abs().max()))
    assert certificate.nash_gap == pytest.approx(max(gaps), abs=1e-7)
    assert certificate.nash_gap_median == pytest.approx(sorted(gaps)[4], abs=1e-7)
    assert certificate.dominated == sum(out)
    assert certificate.dominated_and_removed == sum(o and not k for o, k in zip(out, kept.tolist()))
    assert certificate.undominated_and_kept == sum(not o and k for o, k in zip(out, kept.tolist()))
    assert certificate.spectral_radius == pytest.approx(radius, abs=1e-9) and radius > 0
    assert certificate.contraction == (radius < 1)
    for name, layer in (("0.weight", 0), ("2.weight", 2)):
        values = torch.linalg.svdvals(model[layer].weight.detach())
        assert certificate.condition_numbers[name] == pytest.approx(float(values[0] / values[-1]), rel=1e-9)
    assert certificate.market_clearing_error is None and "spectral radius" in certificate.sentence


def test_the_jacobian_is_that_of_best_responses() -> None:
    """Its radius says how fast best responses contract: iterate them and measure."""
    model, (x, _) = mlp(seed=1, widths=(6, 5, 3)), batch((6,))
    found = find(model, x)
    u, b = Utility(beta=2.0, gamma=0.01, eta=0.8), torch.full((5,), 0.4, dtype=torch.float64)
    gram = _gram(model, 0)
    sq, s = gram.diagonal(), torch.full((5,), 0.5, dtype=torch.float64)
    history = [s]
    for _ in range(60):
        s = u.best_response(b, sq, gram @ s - sq * s)
        history.append(s)
    assert bool(((s > 0) & (s < 1)).all())  # all interior, so the Jacobian is exact
    raw = [p.detach() for p in found.gates.parameters]
    dynamics = FixedPrices(u)
    kept = torch.ones(5, dtype=torch.bool)
    certificate = dynamics.certify(
        found, dynamics.init(found) | {"benefit": b}, s, kept, Arithmetic(found.gates, raw, s)
    )
    errors = [float((h - s).norm()) for h in history]
    assert certificate.spectral_radius == pytest.approx((errors[24] / errors[14]) ** 0.1, rel=0.05)
    assert certificate.nash_gap == pytest.approx(0.0, abs=1e-12)


def test_condition_numbers_leave_out_what_is_zero_and_rank_deficiency_is_infinite() -> None:
    model, found = _two_neurons()
    optimizer = Participating(torch.optim.SGD(model.parameters(), 0.1), found, FixedPrices(Utility(), 0.0))
    optimizer.s[1] = 0.0
    with torch.no_grad():
        optimizer.weights.write(optimizer.s)
    optimizer.harvest()
    assert optimizer.certificate is not None
    assert optimizer.certificate.condition_numbers["0.weight"] == pytest.approx(1.0)
    assert torch.equal(optimizer.kept, torch.tensor([True, False]))
    with torch.no_grad():
        optimizer.weights.raw[0].copy_(torch.ones(2, 2)) if optimizer.weights.raw[
            0
        ].dim() == 2 else optimizer.weights.raw[1].copy_(torch.ones(2, 2))
        optimizer.s.fill_(1.0)
        optimizer.weights.write(optimizer.s)
    optimizer.harvest()
    assert optimizer.certificate.condition_numbers["0.weight"] == math.inf


def test_participants_are_those_above_epsilon_and_every_layer_keeps_its_minimum() -> None:
    model, (x, _) = mlp(), batch((6,))
    found = find(model, x).limit(2)
    s = torch.tensor([0.009, 0.5, EPSILON, 0.0, 1.0, 0.001, 0.004, 0.004, 0.0])
    assert participants(found, {}, s).tolist() == [False, True, True, False, True, False, True, True, False]


@pytest.mark.parametrize(("price", "kept"), [(0.1, 12), (0.3, 1)])
def test_fixed_prices_end_to_end(price: float, kept: int) -> None:
    """The printed game in a user's loop: below every benefit all stay, above every benefit only the minimum does."""
    model, (x, y) = mlp(widths=(6, 12, 3)), batch((6,), count=64)
    found = find(model, x)
    optimizer = Equilibrium(found, utility=Utility(gamma=price), rate=0.05, gauge="norm").wrap(
        torch.optim.Adam(model.parameters(), 0.01)
    )
    for _ in range(150):
        optimizer.zero_grad()
        cross_entropy(model, x, y).backward()
        optimizer.step()
    small = optimizer.harvest()
    assert small[0].out_features == int(optimizer.kept.sum()) == kept
    assert optimizer.certificate is not None and optimizer.certificate.scope == "paper"
    assert optimizer.certificate.dominated_and_removed == 12 - kept
