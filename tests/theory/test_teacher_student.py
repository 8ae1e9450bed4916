"""Teacher and student: equations against Monte Carlo, blocks against a loop, the simulation against the equations."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateurs.theory.teacher_student.averages import i2, i3, i4, j2
from secateurs.theory.teacher_student.dynamics import integrate, velocity
from secateurs.theory.teacher_student.order import Order, ansatz
from secateurs.theory.teacher_student.simulation import BLOCK, Lot, Setting, simulate

SIGMAS = 4.5  # of a Monte Carlo mean: 7e-6 for one, shared by some hundreds of them


def random_order(seed: int, K: int = 3, M: int = 2) -> Order:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Order.of(drawn(K, 7), drawn(K), drawn(M, 7), drawn(M))


def g(x):
    return torch.erf(x / math.sqrt(2.0))


def slope(x):
    return math.sqrt(2.0 / math.pi) * torch.exp(-(x**2) / 2)


def fields(order: Order, count: int, seed: int = 0):
    root = torch.linalg.cholesky(order.covariance)
    drawn = torch.randn(count, len(root), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn @ root.T


def close_to_mean(samples, expected) -> bool:
    """Whether every expectation lies within the interval of its Monte Carlo mean, samples along the first axis."""
    error = samples.std(0) / math.sqrt(len(samples))
    return bool(((samples.mean(0) - expected).abs() <= SIGMAS * error + 1e-12).all())


def test_gaussian_means_are_what_is_drawn():
    order, K = random_order(1), 3
    C, x = order.covariance, fields(order, 200_000)
    gx, dx = g(x), slope(x)
    assert close_to_mean(gx[:, :, None] * gx[:, None], i2(C))
    assert close_to_mean(dx[:, :, None] * dx[:, None], j2(C))
    triple, four = i3(C, K), i4(C, K)
    for i, k in product(range(K), range(len(C))):
        assert close_to_mean((dx[:, i] * x[:, k])[:, None] * gx, triple[i, k])
    for i, k in product(range(K), repeat=2):
        assert close_to_mean((dx[:, i] * dx[:, k])[:, None, None] * gx[:, :, None] * gx[:, None], four[i, k])
    assert not close_to_mean(gx[:, :, None] * gx[:, None], i2(C) + 0.02)  # the test can fail


def test_means_of_what_is_fully_correlated():
    C = torch.ones(2, 2, dtype=torch.float64)
    assert i2(C) == pytest.approx(1 / 3)  # (2/π)·asin ½
    assert j2(C) == pytest.approx(2 / math.pi / math.sqrt(3))


def test_error_is_half_the_mean_square_and_the_papers_three_parts():
    order = random_order(2)
    x = fields(order, 400_000, seed=3)
    halves = 0.5 * (g(x[:, :3]) @ order.v - g(x[:, 3:]) @ order.A) ** 2
    assert close_to_mean(halves[:, None], order.error()[None])
    Q, R, T, v, A = (x.tolist() for x in (order.Q, order.R, order.T, order.v, order.A))

    def part(a, b, C, p, q):  # (14)–(16) without their signs, in loops
        return sum(
            a[i] * b[k] * math.asin(C[i][k] / math.sqrt((1 + p[i][i]) * (1 + q[k][k])))
            for i, k in product(range(len(a)), range(len(b)))
        )

    printed = (part(v, v, Q, Q, Q) + part(A, A, T, T, T) - 2 * part(v, A, R, Q, T)) / math.pi
    assert float(order.error()) == pytest.approx(printed, rel=1e-12)


def test_converged_student_makes_no_error_and_stands_still():
    order = ansatz(2, 3, 4.0)
    assert float(order.error()) == pytest.approx(0, abs=1e-12)
    dQ, dR, dv = velocity(order, 0.5)
    assert max(float(x.abs().max()) for x in (dQ, dR, dv)) < 1e-10
    assert float(velocity(order, 0.5, noise=0.25)[0].abs().max()) > 1e-3  # noise keeps it moving


def loop(lot: Lot, steps: int):
    """The rule as it is written, one example after another, from the same draws."""
    s, N = lot.setting, lot.setting.inputs
    w, v = lot.w.clone(), lot.v.clone()
    done = 0
    while done < steps:
        size = min(BLOCK, steps - done)
        for r, generator in enumerate(lot.generators):
            x = torch.empty(size, N, dtype=w.dtype).normal_(generator=generator)
            zeta = torch.empty(size, dtype=w.dtype).normal_(generator=generator)
            for t, (level, noise) in product(range(size), enumerate(s.noises)):
                y = lot.A @ g(lot.teacher[r] @ x[t] / math.sqrt(N)) + noise * zeta[t]
                fields = w[r, level] @ x[t] / math.sqrt(N)
                delta = y - v[r, level] @ g(fields)
                change = v[r, level] * slope(fields) * delta
                v[r, level] += s.rate / N * g(fields) * delta
                w[r, level] += s.rate / math.sqrt(N) * change[:, None] * x[t]
        done += size
    return w, v


@pytest.mark.parametrize("steps", [1, BLOCK, 2 * BLOCK + 5])
def test_blocks_are_the_rule_step_by_step(steps):
    setting = Setting(inputs=20, teacher=2, student=3, noises=(0.0, 0.5))
    w, v = loop(Lot.begin(setting, [0, 1], torch.float64), steps)
    lot = Lot.begin(setting, [0, 1], torch.float64)
    lot.advance(steps)
    assert torch.allclose(lot.w, w, atol=1e-11) and torch.allclose(lot.v, v, atol=1e-11)


def test_a_round_is_the_same_whatever_stands_beside_it():
    setting = Setting(inputs=30, noises=(0.0, 0.25))
    many, one = (Lot.begin(setting, seeds, torch.float64) for seeds in ([3, 4, 5], [4]))
    simulate(many, [2.0, 3.0])
    simulate(one, [2.0, 3.0])
    assert torch.allclose(many.w[1], one.w[0], atol=1e-11)
    assert not torch.equal(one.w[0, 0], one.w[0, 1])
    with pytest.raises(ValueError, match="must ascend, from 3 on"):
        simulate(one, [1.0])


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_velocity_is_the_mean_step(seed):
    """E[ΔQ]·N and its like, by drawing single steps of a student of given order parameters, in the limit of large N."""
    order, rate, noise = random_order(seed, K=2, M=1), 0.5, 0.3
    x = fields(order, 100_000, seed)
    zeta = torch.randn(len(x), generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    delta = g(x[:, 2:]) @ order.A - g(x[:, :2]) @ order.v + noise * zeta
    change = rate * order.v * slope(x[:, :2]) * delta[:, None]  # w gains change·ξ/√N, and ξ·ξ/N → 1
    follow = change[:, :, None] * x[:, None]
    dQ = follow[..., :2] + follow[..., :2].transpose(1, 2) + change[:, :, None] * change[:, None]
    for drawn, expected in zip((dQ, follow[..., 2:], rate * g(x[:, :2]) * delta[:, None]),
                               velocity(order, rate, noise)):  # fmt: skip
        assert close_to_mean(drawn, expected)


def test_simulation_follows_the_equations():
    """Mean over rounds of simulation − equations, each from its own start, within 3 standard errors of the rounds.

    N is finite: the order parameters of a round stray by O(1/√N) and their mean by O(1/N), hence many rounds of a small
    network, and times at which the student has begun to learn but not to choose between the teacher's units.
    """
    setting, times = Setting(inputs=300, student=2, strength=1.0, noises=(0.0, 0.5)), [0.0, 0.5, 1.0, 2.0, 4.0]
    lot = Lot.begin(setting, range(24))
    start = lot.order
    seen = simulate(lot, times)
    told = integrate(start, times, setting.rate, torch.tensor(setting.noises), step=0.1)
    assert torch.equal(seen[0].Q, told[0].Q)
    for a, b in zip(seen[1:], told[1:]):
        for x, y in ((a.error(), b.error()), (a.Q.diagonal(0, -2, -1).mean(-1), b.Q.diagonal(0, -2, -1).mean(-1)),
                     (a.v.mean(-1), b.v.mean(-1))):  # fmt: skip
            gap = x - y
            assert bool((gap.mean(0).abs() <= 3 * gap.std(0) / math.sqrt(len(gap))).all())
    assert float(seen[-1].error().mean()) < 0.5 * float(seen[0].error().mean())
    halved = integrate(start, times, setting.rate, torch.tensor(setting.noises), step=0.05)
    assert torch.allclose(halved[-1].Q, told[-1].Q, atol=1e-6)
    with pytest.raises(ValueError, match="must ascend"):
        integrate(start, [2.0, 1.0], 0.5)
