"""Convolution, BatchNorm and attention whose second derivatives exist, and cost what their kernels allow.

A Hessian-vector product differentiates the first derivatives of every layer. Of a convolution y = W * x with cotangents
v of ∂x and V of ∂W these are again convolutions, (W * v) + (V * x) for ∂y, and for x and W the first derivative's own
kernel with V and v in their places. torch comes to the last by exchanging batch and channels, which is slow.

Of BatchNorm torch has no kernel for the second derivative: it is put together from some thirty passes over the
activations, which makes a Hessian-vector product dear. By hand it is one more call of the first derivative's kernel,
and three products. With x̂ = (x − μ)·r, r = (σ² + ε)^−½ over n numbers of a channel, and the projection

    P(u) = u − mean(u) − x̂·mean(u·x̂),

the first derivative is ∂x = γ·r·P(∂y), ∂γ = Σ ∂y·x̂, ∂β = Σ ∂y. For cotangents q, q_γ, q_β of these three, let S be the
inner product of both sides. P is symmetric and linear, dr/dx = −r²·x̂/n, and so

    ∂S/∂(∂y) = γ·r·P(q) + q_γ·x̂ + q_β
    ∂S/∂γ    = Σ q·r·P(∂y)
    ∂S/∂x    = −(γ·r/n)·[Σ(∂y·x̂)·r·P(q) + Σ(q·x̂)·r·P(∂y)] + q_γ·r·P(∂y) − (γ·r/n)·Σ(q·r·P(∂y))·x̂

Fused attention has no second derivative at all; it is run as the products and the softmax that it is made of.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


class TwiceDifferentiable(TorchFunctionMode):
    """While it is entered, convolutions, attention, and BatchNorms that use the batch's statistics, are run so. Their
    values are torch's own."""

    def __enter__(self) -> TwiceDifferentiable:
        # Not in __torch_function__, which does not see what multi_head_attention_forward calls.
        self._attention = sdpa_kernel(SDPBackend.MATH)
        self._attention.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._attention.__exit__(*raised)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _CONVOLUTIONS:
            x, weight, bias, *sizes = _convolving(*args, **(kwargs or {}))
            if x.dim() == weight.dim() and not isinstance(sizes[1], str):  # one without a batch, or 'same', is torch's
                return _Convolved.apply(x, weight, bias, *(_each(n, x.dim() - 2) for n in sizes[:3]), sizes[3])
        form = _FORMS.get(func)
        if form is not None:
            given = form(*args, **(kwargs or {}))
            x, weight, bias, training = given[0], given[1], given[2], given[5]
            # What torch refuses (one number a channel) it is to refuse itself.
            if training and weight is not None and bias is not None and x.numel() > x.shape[1]:
                return _Normalised.apply(*given[:5], *given[6:8])
        return func(*args, **(kwargs or {}))


def _named(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):  # type: ignore[no-untyped-def]
    return input, weight, bias, running_mean, running_var, training, momentum, eps


def _plain(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled):  # type: ignore[no-untyped-def]
    return input, weight, bias, running_mean, running_var, training, momentum, eps


_FORMS: Mapping[Callable[..., Any], Callable[..., tuple[Any, ...]]] = {F.batch_norm: _named, torch.batch_norm: _plain}
"""The functions that normalise, and their arguments in one order."""


_CONVOLUTIONS = {torch.conv1d, torch.conv2d, torch.conv3d}


def _convolving(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):  # type: ignore[no-untyped-def]
    return input, weight, bias, stride, padding, dilation, groups


def _each(size: int | Sequence[int], dims: int) -> list[int]:
    given = [size] if isinstance(size, int) else list(size)
    return given * dims if len(given) == 1 else given


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, *sizes):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        ctx.sizes, ctx.biased = sizes, bias is not None
        return _convolution(x, weight, bias, sizes)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        needed = (*ctx.needs_input_grad[:2], ctx.biased and ctx.needs_input_grad[2])
        return (*_Transposed.apply(grad, x, weight, ctx.sizes, needed), None, None, None, None)


class _Transposed(torch.autograd.Function):
    """(∂y, x, W) → (∂x, ∂W, ∂b), those that are needed."""

    @staticmethod
    def forward(ctx, grad, x, weight, sizes, needed):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(grad, x, weight)
        ctx.sizes = sizes
        ctx.set_materialize_grads(False)
        return _backward(grad, x, weight, sizes, needed)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, v, V, v_bias):  # type: ignore[no-untyped-def]
        grad, x, weight = ctx.saved_tensors
        to_grad, (to_x, to_weight, _) = None, (None, None, None)
        if ctx.needs_input_grad[0]:
            terms = [
                _convolution(a, b, None, ctx.sizes) for a, b in ((v, weight), (x, V)) if a is not None and b is not None
            ]
            if v_bias is not None:
                terms.append(_wide(v_bias, grad).expand_as(grad))
            to_grad = functools.reduce(torch.add, terms) if terms else None
        asked = (ctx.needs_input_grad[1] and V is not None, ctx.needs_input_grad[2] and v is not None, False)
        if any(asked):
            to_x, to_weight, _ = _backward(grad, x if v is None else v, weight if V is None else V, ctx.sizes, asked)
        return to_grad, to_x, to_weight, None, None


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, sizes: Sequence[Any]) -> Tensor:
    stride, padding, dilation, groups = sizes
    return torch.ops.aten.convolution(x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)


def _backward(grad: Tensor, x: Tensor, weight: Tensor, sizes: Sequence[Any], needed: Sequence[bool]) -> Any:
    stride, padding, dilation, groups = sizes
    return torch.ops.aten.convolution_backward(
        grad, x, weight, [weight.shape[0]], stride, padding, dilation, False, [0] * len(stride), groups, list(needed)
    )


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps):  # type: ignore[no-untyped-def]
        y, mean, scale = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, weight, mean, scale = ctx.saved_tensors
        return (*_Derivative.apply(grad, x, weight, mean, scale, ctx.eps), None, None, None, None)


class _Derivative(torch.autograd.Function):
    """(∂y, x, γ) → (∂x, ∂γ, ∂β)."""

    @staticmethod
    def forward(ctx, grad, x, weight, mean, scale, eps):  # type: ignore[no-untyped-def]
        projected, along, total = _first(grad, x, mean, scale, eps)
        ctx.save_for_backward(x, weight, mean, scale, projected, along)
        ctx.eps = eps
        return projected * _wide(weight, x), along, total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, q, q_weight, q_bias):  # type: ignore[no-untyped-def]
        x, weight, mean, scale, projected, along = ctx.saved_tensors
        other, other_along, _ = _first(q, x, mean, scale, ctx.eps)
        n = x.numel() // x.shape[1]
        met = (q * projected).sum([d for d in range(x.dim()) if d != 1])
        share = weight * scale / n
        straight = -share * met * scale  # of x itself; x̂ = scale·x − scale·mean
        to_x = torch.addcmul(_wide(-straight * mean, x).expand_as(x), x, _wide(straight, x))
        to_x.addcmul_(other, _wide(-share * along, x)).addcmul_(projected, _wide(q_weight - share * other_along, x))
        rise = q_weight * scale
        to_grad = torch.addcmul(_wide(q_bias - rise * mean, x), x, _wide(rise, x))
        to_grad.addcmul_(other, _wide(weight, x))
        return to_grad, to_x, met, None, None, None


def _first(u: Tensor, x: Tensor, mean: Tensor, scale: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """r·P(u), Σ u·x̂ and Σ u."""
    one = torch.ones_like(scale)
    return torch.ops.aten.native_batch_norm_backward(u, x, one, None, None, mean, scale, True, eps, [True, True, True])


def _wide(channels: Tensor, x: Tensor) -> Tensor:
    """A number per channel, shaped to meet the activations."""
    return channels.view(1, -1, *[1] * (x.dim() - 2))
