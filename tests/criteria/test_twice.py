"""Second derivatives of BatchNorm, convolutions and attention against torch's own, and finite differences."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateurs.signals.twice import TwiceDifferentiable

from .networks import attention, batch, conv_bn, find, residual, signals


def _derivatives(norm: nn.Module, x: Tensor, target: Tensor, twice: bool) -> list[Tensor]:
    """Output, first derivatives, and second along random directions, of a function with curvature of its own."""
    norm = copy.deepcopy(norm)
    leaves = [x.clone().requires_grad_(), *norm.parameters()]
    if twice:
        with TwiceDifferentiable():
            y = norm(leaves[0])
    else:
        y = norm(leaves[0])
    first = torch.autograd.grad((y.tanh() * target).sum(), leaves, create_graph=True)
    g = torch.Generator().manual_seed(1)
    along = [torch.randn(t.shape, generator=g, dtype=t.dtype) for t in first]
    second = torch.autograd.grad(sum((f * a).sum() for f, a in zip(first, along)), leaves)  # type: ignore[arg-type]
    return [y, *first, *second, *norm.buffers()]


@given(st.sampled_from([(5, 3), (4, 3, 6), (3, 2, 4, 5), (2, 2, 3, 2, 4)]), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_against_torch(shape: tuple[int, ...], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x, target = (torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(2))
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape)]
    norm = kind(shape[1]).double()
    with torch.no_grad():
        norm.weight.copy_(torch.randn(shape[1], generator=g))
        norm.weight[0] = 0.0  # nothing divides by γ
        norm.bias.copy_(torch.randn(shape[1], generator=g))
    for ours, theirs in zip(_derivatives(norm, x, target, True), _derivatives(norm, x, target, False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_against_finite_differences() -> None:
    norm = nn.BatchNorm2d(3).double()
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)

    def value(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with TwiceDifferentiable():
            return torch.batch_norm(x, weight, bias, None, None, True, 0.1, 1e-5, False)

    weight = torch.rand(3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(value, (x, weight, bias)) and norm.training
    assert torch.autograd.gradgradcheck(value, (x, weight, bias))


def test_others_are_left_alone() -> None:
    """Evaluation mode, and BatchNorm without a scale: torch's own functions."""
    x = torch.randn(4, 3, 2, 2)
    with TwiceDifferentiable():
        assert "Normalised" in type(nn.BatchNorm2d(3)(x).grad_fn).__name__
        assert "Normalised" not in type(nn.BatchNorm2d(3).eval()(x).grad_fn).__name__
        assert nn.BatchNorm2d(3, affine=False)(x).grad_fn is None
    assert "Normalised" not in type(nn.BatchNorm2d(3)(x).grad_fn).__name__


@pytest.mark.parametrize(
    ("build", "shape", "granularity"),
    [
        (conv_bn, (2, 5, 5), "weight"),
        (conv_bn, (2, 5, 5), "channel"),
        (residual, (2, 5, 5), "weight"),
        (residual, (2, 5, 5), "channel"),
        (attention, (4, 6), "weight"),
    ],
)
def test_products_by_the_batch_s_statistics(build, shape: tuple[int, ...], granularity: str) -> None:
    """H·v in training mode against the finite difference of gradients; g and H·g of one batch, and of two. Attention is
    among them because the fused kernel has no second derivative."""
    (x, y), model = batch(shape), build()
    found = find(model, x, granularity)
    held = signals(found, (x, y), training=True)
    g, product = held.gradient_product
    theta, h = [p.detach().clone() for p in found.gates.parameters], 1e-6

    def moved(sign: float) -> list[Tensor]:
        with torch.no_grad():
            for p, t, d in zip(found.gates.parameters, theta, g):
                p.copy_(t + sign * h * d)
        return signals(found, (x, y), training=True).gradient

    up, down = moved(1.0), moved(-1.0)
    moved(0.0)
    for ours, above, below in zip(product, up, down):
        torch.testing.assert_close(ours, (above - below) / (2 * h), rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(g, held.gradient):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(product, held.product(g)):
        torch.testing.assert_close(ours, theirs)
    two = signals(found, (x[:4], y[:4]), (x[4:], y[4:]))
    one = signals(found, (x, y))
    for ours, theirs in zip(two.gradient_product[1], one.gradient_product[1]):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 6, (3, 2), dilation=(1, 2), bias=False),
        nn.Conv2d(4, 4, 3, padding=(0, 2), groups=2),
        nn.Conv1d(4, 3, 2, stride=2),
        nn.Conv3d(4, 2, 2, padding=1),
        nn.Conv2d(4, 3, 3, padding="same"),
    ],
    ids=lambda conv: f"{type(conv).__name__}-{conv.extra_repr()}",
)
def test_convolutions_against_torch(conv: nn.Module) -> None:
    conv, dims = conv.double(), conv.weight.dim() - 2
    x = torch.randn(3, 4, *[7] * dims, dtype=torch.float64)
    target = torch.randn(conv(x).shape, dtype=torch.float64)
    for ours, theirs in zip(_derivatives(conv, x, target, True), _derivatives(conv, x, target, False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    with TwiceDifferentiable():
        assert ("Convolved" in type(conv(x).grad_fn).__name__) == (conv.padding != "same")
