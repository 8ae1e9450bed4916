"""Second-order scores and updates against dense Hessians in float64, and against what removal really does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateurs.criteria import OBD, OBS, Fisher, Grasp, Snip, Taylor2
from secateurs.partition import Players
from secateurs.signals import Signals
from secateurs.signals import signals as module

from .networks import NETS, batch, elements, find, flat, loss_at, signals

CASES = [(net, g) for net, (_, _, gs) in NETS.items() for g in gs if (net, g) not in {("residual", "weight")}]


def _made(net: str, granularity: str) -> tuple[Players, Tensor, Tensor]:
    build, shape, _ = NETS[net]
    x, y = batch(shape)
    return find(build(), x, granularity), x, y


@pytest.mark.parametrize(("net", "granularity"), CASES)
def test_curvatures_against_the_dense_hessian(net: str, granularity: str) -> None:
    """obd = ½θ_gᵀH_ggθ_g, taylor2 = −⟨g, θ_g⟩ + that, grasp = θ_gᵀ(Hg)_g: exact with as many probes as players."""
    found, x, y = _made(net, granularity)
    theta, loss, mine = flat(found.gates.parameters), loss_at(found, x, y), elements(found)
    g, hessian = torch.func.grad(loss)(theta), torch.func.hessian(loss)(theta)
    held = signals(found, (x[:4], y[:4]), (x[4:], y[4:]), probes=found.count)
    part = mine * theta
    curvature = 0.5 * torch.einsum("pi,ij,pj->p", part, hessian, part)
    torch.testing.assert_close(OBD()(found, held), curvature)
    torch.testing.assert_close(Taylor2()(found, held), curvature - part @ g)
    torch.testing.assert_close(Grasp()(found, held), part @ (hessian @ g))
    torch.testing.assert_close(Grasp()(found, signals(found, (x, y))), part @ (hessian @ g))  # in one pass


def test_hutchinson_s_estimate_is_unbiased() -> None:
    """The mean over many random signs lies within 4.5 standard errors of the exact curvature, for every weight."""
    found, x, y = _made("mlp", "weight")
    exact = OBD()(found, signals(found, (x, y), probes=found.count))
    draws = torch.stack([OBD()(found, signals(found, (x, y), probes=1, seed=k)) for k in range(300)])
    error = draws.std(0) / len(draws) ** 0.5
    assert bool(((draws.mean(0) - exact).abs() <= 4.5 * error + 1e-12).all())


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_taylor2_is_the_loss_change_of_a_quadratic(seed: int) -> None:
    """L(θ) = ½‖W·x − t‖² is quadratic in each row and weight: removal changes it by just what is predicted."""
    g = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64))
    x, t = (torch.randn(5, n, generator=g, dtype=torch.float64) for n in (3, 2))

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return 0.5 * (model(x) - y).square().sum(1).mean()

    for granularity in ("channel", "weight"):
        found = find(model, x, granularity)
        predicted = Taylor2()(found, Signals(found, [(x, t)], loss=loss, probes=found.count))
        theta = [p.detach().clone() for p in found.gates.parameters]
        for player in range(found.count):
            keep = torch.ones(found.count, dtype=torch.float64)
            keep[player] = 0
            with torch.no_grad():
                before = loss(model, x, t)
                found.gates.scaled(theta, keep, out=[p.data for p in found.gates.parameters])
                after = loss(model, x, t)
                found.gates.scaled(theta, torch.ones_like(keep), out=[p.data for p in found.gates.parameters])
            torch.testing.assert_close(predicted[player], after - before)


@pytest.mark.parametrize(("net", "granularity"), CASES)
def test_fisher_against_a_loop_over_examples(net: str, granularity: str) -> None:
    """½·mean of ⟨g_n, θ_g⟩²; at weight granularity ½·w²·mean g_n²."""
    found, x, y = _made(net, granularity)
    theta, mine = flat(found.gates.parameters), elements(found).double()
    rows = [torch.func.grad(loss_at(found, x[n : n + 1], y[n : n + 1]))(theta) for n in range(len(x))]
    expected = sum((mine @ (theta * g)) ** 2 for g in rows) / (2 * len(rows))
    torch.testing.assert_close(Fisher()(found, signals(found, (x[:2], y[:2]), (x[2:], y[2:]))), expected)


@pytest.mark.parametrize(("net", "granularity"), [c for c in CASES if c[0] in ("mlp", "conv")])
def test_snip_is_the_finite_difference_of_participation(net: str, granularity: str) -> None:
    found, x, y = _made(net, granularity)
    theta, loss, mine, h = flat(found.gates.parameters), loss_at(found, x, y), elements(found).double(), 1e-6
    slopes = torch.stack([(loss(theta * (1 + h * m)) - loss(theta * (1 - h * m))) / (2 * h) for m in mine]).abs()
    torch.testing.assert_close(Snip()(found, signals(found, (x, y))), slopes / slopes.sum(), rtol=1e-4, atol=1e-9)


def test_grasp_removes_whom_the_gradient_grows_most_without() -> None:
    """‖g‖² has the slope 2·θ_gᵀHg in s_g, by finite differences; so a slightly fainter lowest scorer raises it most."""
    found, x, y = _made("mlp", "channel")
    theta, mine = flat(found.gates.parameters), elements(found).double()
    gradient = torch.func.grad(loss_at(found, x, y))

    def flow(s: Tensor) -> Tensor:
        return gradient(theta * s).square().sum()

    scores, h = Grasp()(found, signals(found, (x, y))), 1e-6
    slopes = torch.stack([(flow(1 + h * m) - flow(1 - h * m)) / (2 * h) for m in mine])
    torch.testing.assert_close(slopes, 2 * scores, rtol=1e-5, atol=1e-8)
    fainter = torch.stack([flow(1 - 1e-3 * m) for m in mine])
    assert int(fainter.argmax()) == int(scores.argmin()) and int(fainter.argmin()) == int(scores.argmax())


# -- optimal brain surgeon ------------------------------------------------------------------------------------


def _fisher_matrix(held: Signals, damping: float) -> Tensor:
    grads = torch.stack([flat(g) for g in held.each_example()], 1)
    outer = grads @ grads.T / grads.shape[1]
    return outer + damping * outer.diagonal().mean() * torch.eye(len(outer), dtype=outer.dtype)


@pytest.mark.parametrize("damping", [0.01, 1.0])
@pytest.mark.parametrize(("net", "granularity"), CASES)
def test_obs_against_the_dense_inverse(net: str, granularity: str, damping: float) -> None:
    found, x, y = _made(net, granularity)
    held = signals(found, (x[:4], y[:4]), (x[4:], y[4:]))
    inverse = torch.linalg.inv(_fisher_matrix(held, damping))
    theta = flat(found.gates.parameters)
    expected = [
        0.5 * theta[m] @ torch.linalg.solve(inverse[m][:, m], theta[m])  # a loop, on purpose
        for m in elements(found)
    ]
    torch.testing.assert_close(OBS(damping)(found, held), torch.stack(expected), rtol=1e-6, atol=1e-12)


def test_obs_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from secateurs.criteria import obs
    from secateurs.maths import fisher

    for granularity in ("weight", "channel"):
        found, x, y = _made("conv", granularity)
        whole = OBS()(found, signals(found, (x, y)))
        for held in (obs, fisher):
            monkeypatch.setattr(held, "PIECE", 700)
        torch.testing.assert_close(OBS()(found, signals(found, (x, y))), whole)
        monkeypatch.undo()


@pytest.mark.parametrize(("net", "granularity"), CASES)
def test_the_update_is_the_least_rise_of_the_model(net: str, granularity: str) -> None:
    """δ_Q = −w_Q and δ_K minimises ½δᵀHδ: against the dense solution, below every other change that was tried, and
    for one player equal to its score."""
    found, x, y = _made(net, granularity)
    held = signals(found, (x, y))
    hessian, before, mine = _fisher_matrix(held, 1.0), flat(found.gates.parameters), elements(found)
    g = torch.Generator().manual_seed(0)
    scores = OBS()(found, held)
    for count in (1, max(1, found.count // 2)):
        keep = torch.ones(found.count, dtype=torch.bool)
        keep[torch.randperm(found.count, generator=g)[:count]] = False
        gone = mine[~keep].any(0)
        OBS().repair(found, held, keep)
        change = torch.where(gone, -before, flat(found.gates.parameters) - before)
        assert torch.equal(flat(found.gates.parameters)[gone], before[gone])  # the cut is not the score's to make
        with torch.no_grad():
            for p, t in zip(found.gates.parameters, before.split([q.numel() for q in found.gates.parameters])):
                p.copy_(t.view_as(p))
        dense = -before * gone
        dense[~gone] = torch.linalg.solve(hessian[~gone][:, ~gone], hessian[~gone][:, gone] @ before[gone])
        torch.testing.assert_close(change, dense, rtol=1e-6, atol=1e-10)

        def rise(delta: Tensor) -> float:
            return float(0.5 * delta @ hessian @ delta)

        assert rise(change) < rise(-before * gone)
        noise = torch.randn(5, len(before), generator=g, dtype=before.dtype) * ~gone
        assert all(rise(change) <= rise(change + 0.01 * n) for n in noise)
        if count == 1:
            torch.testing.assert_close(torch.tensor(rise(change)).double(), scores[~keep][0], rtol=1e-6, atol=1e-12)


def test_a_single_weight_s_update_is_the_textbook_s() -> None:
    """δ = −w_q/[H⁻¹]_qq·H⁻¹e_q (Hassibi & Stork 1993, eq. 5)."""
    found, x, y = _made("mlp", "weight")
    held = signals(found, (x, y))
    inverse, before = torch.linalg.inv(_fisher_matrix(held, 1.0)), flat(found.gates.parameters)
    for q in (0, 17, 70):
        keep = torch.ones(found.count, dtype=torch.bool)
        keep[q] = False
        OBS().repair(found, held, keep)
        change = flat(found.gates.parameters) - before
        change[q] = -before[q]
        torch.testing.assert_close(change, -before[q] / inverse[q, q] * inverse[:, q])
        with torch.no_grad():
            for p, t in zip(found.gates.parameters, before.split([r.numel() for r in found.gates.parameters])):
                p.copy_(t.view_as(p))


def test_gradients_of_single_examples_stop_where_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    found, x, y = _made("mlp", "weight")
    whole = signals(found, (x, y)).example_gradients
    assert whole.shape == (9, found.count)
    torch.testing.assert_close(whole, torch.stack([flat(g) for g in signals(found, (x, y)).each_example()]))
    monkeypatch.setattr(module, "MEMORY", 4 * found.count * 8 + 7)
    assert torch.equal(signals(found, (x, y)).example_gradients, whole[:4])
