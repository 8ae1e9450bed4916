"""Recurrent functions are read whole.

``torch.lstm`` and its kin fall apart before a dispatch mode sees them: into some operators for each time
step, or one fused kernel, by device and type, written in place through views. So they are caught where
Python calls them. One call is then one entry of the trace, however long the sequence, and on fake tensors
nothing of it runs: the outputs' shapes follow from those of the input and the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

# How many gates are stacked in the rows of a layer's weights.
GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
UNPACK = "_pad_packed_sequence"
CAUGHT = {getattr(torch, name): name for name in (*GATES, *(f"{g}_cell" for g in GATES), UNPACK)}

Run = Callable[..., Any]


class Whole(TorchFunctionMode):
    """Hands recurrent calls to ``read(operator, args, kwargs, run)``; whatever else is called just runs."""

    def __init__(self, read: Callable[[Any, Any, Any, Run], Any]) -> None:
        super().__init__()
        self._read = read

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = CAUGHT.get(func)
        if name is None or kwargs:  # PyTorch's own modules pass no keywords here
            return func(*args, **kwargs)
        faked = name != UNPACK and isinstance(args[0], FakeTensor)
        return self._read(_overload(name, args), args, kwargs, _blank(name) if faked else func)


def _overload(name: str, args: Any) -> Any:
    packet = getattr(torch.ops.aten, name)
    if name not in GATES:
        return packet.default
    return packet.data if isinstance(args[3], (list, tuple)) else packet.input


def _blank(name: str) -> Run:
    """What makes the outputs of a recurrent function without running it."""

    def cell(x: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, *_: Any) -> Any:
        states = listed(hx)
        _fit(name.removesuffix("_cell"), (w_ih, w_hh), x.shape[-1], states[0].shape[-1], states[-1].shape[-1])
        out = tuple(torch.empty_like(state) for state in states)
        return out if isinstance(hx, (tuple, list)) else out[0]

    def sequence(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        packed = isinstance(rest[2], (list, tuple))
        hx, weights, bias, layers, _, _, both_ways, *first = rest[1:] if packed else rest
        states, directions = listed(hx), 1 + bool(both_ways)
        width, units = states[0].shape[-1], states[-1].shape[-1]
        for number, held in enumerate(layered(weights, bias, layers * directions, states)):
            _fit(name, held, x.shape[-1] if number < directions else width * directions, width, units)
        if first and first[0]:
            # As the kernels lay it out, so that code that asks for contiguity takes the same way.
            out = x.new_empty(x.shape[1], x.shape[0], width * directions).transpose(0, 1)
        else:
            out = x.new_empty(*x.shape[:-1], width * directions)
        return (out, *(torch.empty_like(state) for state in states))

    return cell if name.endswith("_cell") else sequence


def listed(hx: Any) -> list[Any]:
    """The state: h, and for an LSTM c."""
    return list(hx) if isinstance(hx, (tuple, list)) else [hx]


def layered(weights: Any, bias: bool, cells: int, states: list[Any]) -> list[Any]:
    """The weights of each layer and direction: input, recurrent, two biases, projection.

    Raises:
        RuntimeError: their number does not fit.
    """
    # Fewer outputs than cells is how the operator itself knows that outputs are projected.
    each = 2 + 2 * bool(bias) + (states[0].shape[-1] != states[-1].shape[-1])
    if len(weights) != cells * each:
        raise RuntimeError(f"{len(weights)} weights for {cells} recurrent layers that need {each} each")
    return [weights[i : i + each] for i in range(0, len(weights), each)]


def _fit(name: str, weights: Any, inputs: int, width: int, units: int) -> None:
    """Raises: RuntimeError where the real function would."""
    shapes = [tuple(w.shape) for w in weights[:2]]
    if shapes != [(GATES[name] * units, inputs), (GATES[name] * units, width)]:
        raise RuntimeError(f"recurrent weights of shapes {shapes} for {inputs} inputs, {width} outputs, {units} cells")
