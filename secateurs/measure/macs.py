"""Multiply-accumulates, counted on the running network one ATen operator at a time.

Convention: a multiply-accumulate is one product that is summed, in a *contraction*: linear, convolution,
matrix product, attention's two products, the matrices of recurrent cells. Everything else (bias additions,
activations, normalisations, softmax, pooling, embeddings) counts nothing, as in the literature. Attention
counts the whole square of positions, masked or causal or not, because that is what a dense kernel does.
A grouped convolution counts its groups only. 2 × MACs is what others call FLOPs.

The count knows nothing of the structure's own prediction, so that each checks the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .inputs import as_call, batch_size, device_of, evaluating, moved

aten = torch.ops.aten
Rule = Callable[[tuple[Any, ...], dict[str, Any], Any], int]


def count_macs(model: nn.Module, example_inputs: Any) -> int:
    """Multiply-accumulates of one example: those of the whole batch divided by its size, rounded.

    The model runs once on the inputs, in eval mode without gradients; its modes and torch's random state are
    restored. A product that does not involve the batch (a matrix made of parameters alone) is done once
    per forward pass, and so its share of one example shrinks with the batch.

    Args:
        model: on any device.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, batch axis first.
    """
    inner = getattr(model, "_orig_mod", model)  # a compiled wrapper would hide its operators
    args, kwargs = moved(example_inputs, device_of(model))
    counter = _Counter()
    devices = [device_of(model)] if device_of(model).type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        evaluating(inner),
        torch.no_grad(),
        _plain_attention(),
        counter,
    ):
        inner(*args, **kwargs)
    return round(counter.macs / batch_size(as_call(example_inputs)))


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    # nn.TransformerEncoder's fast path is one fused operator whose products nobody sees.
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


class _Counter(TorchDispatchMode):
    """Sums the rule of every operator that has one; composite operators are opened up first."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        rule = _RULES.get(func._overloadpacket)
        if rule is None:
            with self:
                opened = func.decompose(*args, **kwargs)
            if opened is not NotImplemented:
                return opened
        out = func(*args, **kwargs)
        if rule is not None:
            self.macs += rule(args, kwargs, out)
        return out


def _matrices(first: int) -> Rule:
    """(…, n, k) × (…, k, m), the left one at position ``first``: output entries × k."""

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
        left, right = args[first], args[first + 1]
        inner = left.shape[-1]
        columns = right.shape[-1] if right.ndim > 1 else 1
        rows = prod(left.shape[:-1])
        # addbmm sums its batch away, so the operands are counted and not the result.
        return rows * inner * columns

    return rule


def _convolution(args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> int:
    """Every output (transposed: input) position meets a whole filter of ``weight[0]``'s size."""
    given = dict(zip(("input", "weight", "bias", "stride", "padding", "dilation", "transposed"), args)) | kwargs
    # weight: (out, in/groups, *kernel); transposed: (in, out/groups, *kernel).
    positions = given["input"] if given.get("transposed", False) is True else out
    return positions.numel() * prod(given["weight"].shape[1:])


def _plain_convolution(args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> int:
    """The same for the backends' own operators, which are never transposed."""
    return out.numel() * prod(args[1].shape[1:])


def _transposed_convolution(args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> int:
    return args[0].numel() * prod(args[1].shape[1:])


def _attention(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """query (…, n, d), key (…, m, d), value (…, m, e): n·m·d + n·m·e for each query head."""
    given = dict(zip(("query", "key", "value"), args)) | kwargs
    query, key, value = given["query"], given["key"], given["value"]
    return prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _recurrent(weights: Callable[[tuple[Any, ...]], list[Tensor]]) -> Rule:
    """Each time step multiplies by every weight matrix of the layer(s) once per sequence."""

    def rule(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
        steps = prod(args[0].shape[:-1])  # time × batch, in either order, or packed
        return steps * sum(weight.numel() for weight in weights(args) if weight.ndim == 2)

    return rule


_CONVOLUTIONS = ("mkldnn_convolution", "cudnn_convolution", "cudnn_convolution_relu", "miopen_convolution")
_TRANSPOSED = ("cudnn_convolution_transpose", "miopen_convolution_transpose")
_ATTENTIONS = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math_for_mps",
)


def _rules() -> dict[Any, Rule]:
    named: dict[str, Rule] = {
        **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "_int_mm", "_scaled_mm", "_grouped_mm"), _matrices(0)),
        **dict.fromkeys(("addmm", "_addmm_activation", "baddbmm", "addbmm", "addmv"), _matrices(1)),
        **dict.fromkeys(("addmm_", "baddbmm_", "addbmm_", "addmv_"), _matrices(1)),
        **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), _convolution),
        **dict.fromkeys(_CONVOLUTIONS, _plain_convolution),
        **dict.fromkeys(_TRANSPOSED, _transposed_convolution),
        **dict.fromkeys(_ATTENTIONS, _attention),
        "mkldnn_rnn_layer": _recurrent(lambda args: list(args[1:3])),
        "_cudnn_rnn": _recurrent(lambda args: list(args[1])),
        "miopen_rnn": _recurrent(lambda args: list(args[1])),
    }
    # An operator that this torch does not have cannot run either.
    return {getattr(aten, name): rule for name, rule in named.items() if hasattr(aten, name)}


_RULES = _rules()
