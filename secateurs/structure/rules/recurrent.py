"""Recurrent layers: a hidden unit is its rows in every gate and the columns that read it.

A unit stays at zero, from a state of zero, once its candidate does: c ← f⊙c + i⊙g with g = tanh 0 in an
LSTM, h ← (1−z)⊙n + z⊙h with n = tanh 0 in a GRU, h = tanh 0 in a plain layer. So what silences it are the
candidate's rows and biases, together with whatever silences the state it starts from; where that cannot be
silenced, the columns that read the unit are zeroed instead. All layers and directions of one call share
the width of their state, and so unit k is one unit in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..labels import Block, Label
from ..ledger import Size
from ..recurrence import GATES, layered, listed
from .call import Call, register
from .contraction import contract
from .joining import joined

# The gate whose zero leaves a zero state at zero.
CANDIDATE = {"lstm": 2, "gru": 2, "rnn_tanh": 0, "rnn_relu": 0}
RUNS = "a recurrent layer runs along this axis"
PROJECTED = "a projected LSTM is known by having more cells than outputs, so its cells stay"


@register(*GATES)
def sequence(call: Call) -> list[Label | None]:
    given = call.label("input") or call.label("data")
    assert given is not None
    states = listed(call["hx"])
    directions = 1 + bool(call["bidirectional"])
    weights = layered(call["params"], call["has_biases"], call["num_layers"] * directions, states)
    start = [_last(call, call.label_of(s), 1) for s in states]
    x = _last(call, given, math.prod(given.shape[:-1]))
    ends = []
    for layer in range(call["num_layers"]):
        held = weights[layer * directions : (layer + 1) * directions]
        steps = [_step(call, x, start, [call.label_of(w) for w in ws]) for ws in held]
        ends += steps
        outs = [step[0] for step in steps]
        x = joined(call, outs, 1, (x.shape[0], sum(out.shape[1] for out in outs)))
    last = [call.align(parts, (x.shape[0], parts[0].shape[1])) for parts in zip(*ends)]
    return [_spread(label, call.shape(i)) for i, label in enumerate([x, *last])]


@register(*(f"{name}_cell" for name in GATES))
def cell(call: Call) -> list[Label | None]:
    given = call.label("input")
    assert given is not None
    states = [call.label_of(s) for s in listed(call["hx"])]
    start = [_last(call, s, s.shape[0]) for s in states]
    weights = [w for n in ("w_ih", "w_hh", "b_ih", "b_hh") if (w := call.label(n)) is not None]
    return list(_step(call, _last(call, given, given.shape[0]), start, weights))


def _step(call: Call, x: Label, start: Sequence[Label], weights: Sequence[Label]) -> list[Label]:
    """One layer in one direction: the labels of h (and c) after it.

    Args:
        x: (steps, inputs).
        start: of h (and c), (steps or 1, units).
        weights: input (gates × units, inputs), recurrent (gates × units, units), and if any: two biases, projection.
    """
    w_ih, w_hh, *rest = weights
    projection = rest.pop() if rest and len(rest[-1].shape) == 2 else None
    name = call.name.removesuffix("_cell")
    units = w_hh.shape[0] // GATES[name]
    rows = [Label(w.shape[:1], w.only([0])) for w in (w_ih, w_hh)]
    contract(call, x, w_ih, "ni", "oi", "no")
    state = Label((x.shape[0], units), _candidate(call, call.align([*rows, *rest], w_ih.shape[:1]), name, units))
    if projection is None:
        state = call.align([state, *start], state.shape)
        out = state
    else:
        state = call.align([state, start[1]], state.shape)
        for block in state.blocks:
            call.freeze(block.ids, PROJECTED)
        out = contract(call, state, projection, "ni", "oi", "no")
        out = call.align([out, start[0]], out.shape)
    contract(call, out, w_hh, "ni", "oi", "no")
    _note_width(call, out)
    return [out, state][: len(start)]


def _candidate(call: Call, rows: Label, name: str, units: int) -> tuple[Block, ...]:
    """The units, as the rows of the candidate gate; those of the other gates go with them."""
    block = rows.at(0)
    if block is None:
        return ()
    gates = block.data.reshape(len(block.data), -1, units)
    call.ledger.tie(gates[0], [0])
    return (Block((1,), gates[:, CANDIDATE[name]]),) if units > 1 else ()


def _note_width(call: Call, out: Label) -> None:
    """Modules around the layer may hold its width, to make states or to reshape."""
    block = out.at(1)
    path = f"{call.path}."
    while block is not None and path:
        path = path.rpartition(".")[0]
        call.ledger.sizes.append(Size(path, "hidden", out.shape[1], block.ids, guess=True))


def _last(call: Call, label: Label, rows: int) -> Label:
    """A label over (rows, features): nothing else of it can be cut."""
    last = len(label.shape) - 1
    label = call.passing(label, [last], RUNS)
    flat = tuple(Block((1,), block.data) for block in label.blocks)
    return Label((rows, label.shape[last]), flat, frozenset({1} if last in label.free else ()), label.zero)


def _spread(label: Label, shape: tuple[int, ...]) -> Label:
    return Label(shape, tuple(Block((len(shape) - 1,), block.data) for block in label.blocks))


@register("_pack_padded_sequence")
def pack(call: Call) -> list[Label | None]:
    """(length, batch, …) to (entries, …)."""
    return [_moved(call, "input", 2, call.shape(0)), None]


@register("_pad_packed_sequence")
def unpack(call: Call) -> list[Label | None]:
    """(entries, …) to (length, batch, …), with a constant where sequences are shorter."""
    label = _moved(call, "data", 1, call.shape(0))
    pad = Label((1,) * len(label.shape), zero=call["padding_value"] == 0)
    return [call.align([label, pad], label.shape), None]


def _moved(call: Call, name: str, first: int, shape: tuple[int, ...]) -> Label:
    label = call.label(name)
    assert label is not None
    kept = call.passing(label, range(first, len(label.shape)), RUNS)
    return kept.renumber(shape, {d: d + len(shape) - len(label.shape) for d in range(first, len(label.shape))})


@register("mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn")
def fused(call: Call) -> list[Label | None]:
    """Kernels that were not called through torch's own functions; each step multiplies by every matrix."""
    weights = [v for k, v in call.arguments.items() if k.startswith("weight") and isinstance(v, torch.Tensor)]
    for value in call.arguments.values():
        if isinstance(value, (list, tuple)):
            weights += [v for v in value if isinstance(v, torch.Tensor)]
    for label in (*call.tensors, *(call.label_of(w) for w in weights)):
        call.freeze_label(label, "a fused recurrent kernel's sizes")
    given = call.label("input")
    assert given is not None
    matrices = sum(w.numel() for w in weights if w.dim() == 2)
    call.product(math.prod(given.shape[:-1]) * matrices, ())
    return [None] * len(call.out)
