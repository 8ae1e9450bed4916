"""Operators that act on each entry: they unite the axes that meet, and keep or lose silence.

Zero in, zero out keeps the silencers (relu, gelu, tanh, a product, a scaling); anything else (sigmoid, exp,
adding a constant) makes the activation loud, and then its consumers' weights are gated instead.
"""

from __future__ import annotations

from typing import Any

from ..labels import Block, Label, hush, louden
from .call import Call, register

KEEPS_ZERO = (
    "relu", "relu6", "gelu", "silu", "tanh", "mish", "hardswish", "leaky_relu", "elu", "celu", "selu",
    "softshrink", "hardshrink", "abs", "neg", "sign", "sgn", "sqrt", "square", "sin", "sinh", "asin",
    "asinh", "atan", "tan", "atanh", "erf", "erfinv", "expm1", "log1p", "floor", "ceil", "round", "trunc",
    "frac", "clone", "detach", "alias", "contiguous", "lift_fresh", "lift", "_to_copy", "positive",
    "dropout", "real", "nan_to_num", "deg2rad", "rad2deg", "_conj", "resolve_conj", "resolve_neg",
    "alpha_dropout", "feature_dropout",
)  # fmt: skip
LOSES_ZERO = (
    "sigmoid", "exp", "exp2", "log", "log2", "log10", "cos", "cosh", "acos", "acosh", "reciprocal", "rsqrt",
    "softplus", "log_sigmoid_forward", "erfc", "hardsigmoid", "logit", "digamma", "lgamma", "logical_not",
    "bitwise_not", "isnan", "isinf", "isfinite", "signbit", "i0", "sinc", "threshold",
    "_prelu_kernel_backward", "bernoulli", "normal", "uniform", "random", "exponential",
)  # fmt: skip
SINGULAR = (
    "log", "log2", "log10", "reciprocal", "rsqrt", "logit", "digamma", "lgamma",
)  # fmt: skip
SUMS = (
    "add", "sub", "rsub", "maximum", "minimum", "fmax", "fmin", "hypot", "lerp", "copysign",
)  # fmt: skip
COMPARES = (
    "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "bitwise_and",
    "bitwise_or", "bitwise_xor", "isclose", "pow", "atan2", "xlogy", "floor_divide", "remainder", "fmod",
)  # fmt: skip


@register(*KEEPS_ZERO)
def keeps_zero(call: Call) -> Label:
    return call.align(call.tensors[:1], call.shape(), "all")


@register(*LOSES_ZERO)
def loses_zero(call: Call) -> Label | list[Label | None]:
    label = call.align(call.tensors[:1], call.tensors[0].shape, "never")
    if call.name in SINGULAR:
        call.forbid(call.tensors[0])
    return [label, None] if isinstance(call.out, (tuple, list)) else label


@register("native_dropout", "_fused_dropout")
def dropout(call: Call) -> list[Label | None]:
    label = call.align(call.tensors[:1], call.shape(0), "all")
    return [label, call.align([label], call.shape(1), "never")]


@register(*SUMS)
def sums(call: Call) -> Label:
    scalars = [v for k, v in call.arguments.items() if k in ("other", "self") and not _tensor(v) and v is not None]
    mode = "all" if all(v == 0 for v in scalars) else "never"
    return call.align(call.tensors, call.shape(), mode)


@register("mul")
def products(call: Call) -> Label:
    return call.align(call.tensors, call.shape(), "any")


@register("div", "true_divide")
def div(call: Call) -> Label:
    numerator, denominator = call.label("self"), call.label("other")
    if denominator is not None:
        call.forbid(denominator)
    return call.align(call.tensors, call.shape(), "all", over=[0] if numerator is not None else [])


@register(*COMPARES)
def compares(call: Call) -> Label:
    exponent = call["exponent"]
    if call.name == "pow" and isinstance(exponent, (int, float)) and exponent > 0:
        return call.align(call.tensors, call.shape(), "all")
    if call.name in ("pow", "xlogy", "floor_divide", "remainder", "fmod"):
        for tensor in call.tensors:
            call.forbid(tensor)
    return call.align(call.tensors, call.shape(), "never")


@register("clamp", "clip", "clamp_min", "clamp_max", "hardtanh")
def clamp(call: Call) -> Label:
    names = ("min_val", "max_val") if call.name == "hardtanh" else ("min", "max")
    low, high = (call[n] for n in names)
    known = not _tensor(low) and not _tensor(high)
    spans = known and (low is None or low <= 0) and (high is None or high >= 0)
    return call.align(call.tensors, call.shape(), "all" if spans else "never")


@register("addcmul", "addcdiv")
def addcmul(call: Call) -> Label:
    start, first, second = call.tensors
    if call.name == "addcmul":
        product = call.align([first, second], call.shape(), "any")
    else:
        call.forbid(second)
        product = call.align([first, second], call.shape(), "all", over=[0])
    return call.align([start, product], call.shape(), "all")


@register("where")
def where(call: Call) -> Label:
    scalars = [v for k, v in call.arguments.items() if k in ("self", "other") and not _tensor(v)]
    quiet = all(v == 0 for v in scalars) and len(call.tensors) > 1
    return call.align(call.tensors, call.shape(), "all" if quiet else "never", over=range(1, len(call.tensors)))


@register("masked_fill")
def masked_fill(call: Call) -> Label:
    value = call["value"]
    zero = not _tensor(value) and value == 0
    tensors = [call.label("self"), call.label("mask")]
    return call.align(tensors, call.shape(), "all" if zero else "never", over=[0])


@register("_prelu_kernel", "prelu")
def prelu(call: Call) -> Label:
    x, weight = call.tensors[:2]
    if call.name == "prelu" and len(weight.shape) == 1 and len(x.shape) > 1:
        weight = weight.renumber((1, *weight.shape, *([1] * (len(x.shape) - 2))), {0: 1})
    return call.align([x, weight], call.shape(), "all", over=[0])


@register("rrelu_with_noise")
def rrelu(call: Call) -> Label:
    return call.align([call.label("self")], call.shape(), "all")


@register("copy")
def copy(call: Call) -> Label:
    source = call.label("src")
    return call.align([source] if source is not None else [], call.shape(), "all")


@register("zero", "fill")
def fill(call: Call) -> Label:
    label = call.label("self") or Label(call.shape())
    zero = call.name == "zero" or call["value"] == 0
    blocks = tuple(Block(b.dims, (hush if zero else louden)(b.data)) for b in label.blocks)
    return Label(call.shape(), blocks, frozenset(range(len(call.shape()))), zero)


@register("glu")
def glu(call: Call) -> Label:
    """Halves along ``dim``: the same offset of both lives together; the first half's silence counts."""
    from .view import take

    x = call.label("self")
    assert x is not None
    dim = int(call["dim"] if call["dim"] is not None else -1) % len(x.shape)
    size = x.shape[dim]
    block = x.at(dim)
    if block is not None and len(block.dims) > 1:
        call.freeze(block.ids, "a gated unit halves part of a joint axis")
        x = Label(x.shape, tuple(b for b in x.blocks if b is not block))
    halves = [take(x, dim, slice(i * size // 2, (i + 1) * size // 2)) for i in range(2)]
    return call.align(halves, call.shape(), "all", over=[0])


def _tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
