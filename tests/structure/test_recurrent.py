"""Recurrent layers and cells: masked equals shrunk, whatever reads them and whatever they start from."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from secateurs.measure import count_macs
from secateurs.structure import Structure, mask, shrink, trace
from secateurs.structure.copying import copy_with
from secateurs.structure.tracing import read

from .networks import Function, randomise
from .test_exactness import outputs, random_keep

UNITS = 6
KINDS: dict[str, Callable[..., nn.RNNBase]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
}
CELLS: dict[str, type[nn.RNNCellBase]] = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "tanh": nn.RNNCell}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


def prepared(model: nn.Module) -> nn.Module:
    return randomise(model).eval()


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def agrees(model: nn.Module, inputs: Any, *others: Any, **widths: int) -> Structure:
    """Trace, and hold masked against shrunk on the inputs and others; ``widths``: families expected."""
    structure = trace(model, inputs)
    assert {f.name.replace(".", "_"): len(f.atoms) for f in structure.families} == widths
    changed = not widths
    for seed in range(3 if widths else 0):
        keep = random_keep(structure, seed, (0.7, 0.4, 0.15)[seed])
        small = shrink(model, structure, keep, check=False).model.eval()
        masked = mask(copy_with(model, lambda _, t: t.detach().clone()), structure, keep).eval()
        for given in (inputs, *others):
            dense, expected, got = (outputs(m, given) for m in (model, masked, small))
            changed |= any((a - b).abs().max() > 1e-6 for a, b in zip(dense, expected))
            for a, b in zip(expected, got, strict=True):
                torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)
        assert structure.amount("params", keep) == sum(p.numel() for p in small.parameters())
        assert round(structure.amount("macs", keep)) == count_macs(small, inputs)
    assert changed
    return structure


# -- every variant -----------------------------------------------------------------------------------
VARIANTS = list(itertools.product(KINDS, (False, True), (1, 2), (False, True), (False, True)))


@pytest.mark.parametrize(("kind", "both", "layers", "batch_first", "bias"), VARIANTS)
def test_every_variant(kind: str, both: bool, layers: int, batch_first: bool, bias: bool) -> None:
    rnn = KINDS[kind](
        5, UNITS, layers, bias=bias, batch_first=batch_first, bidirectional=both, dropout=0.2 * layers - 0.2
    )

    def forward(m: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        every, last = m.rnn(m.inp(x).relu())
        last = last[0] if isinstance(last, tuple) else last
        return m.out(every), m.out(every[:, -1] if batch_first else every[-1]), m.top(last[-1])

    modules = {"inp": nn.Linear(4, 5), "rnn": rnn, "out": nn.Linear(UNITS * (1 + both), 3), "top": nn.Linear(UNITS, 2)}
    model = prepared(Function(forward, **modules))
    structure = agrees(model, (normal(3, 7, 4),), (normal(3, 12, 4),), (normal(5, 1, 4),), inp=5, rnn=UNITS)
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    keep[structure.family("rnn").atoms[1:3]] = False
    keep[structure.family("inp").atoms[0]] = False
    small: Any = shrink(model, structure, keep).model
    assert (small.rnn.input_size, small.rnn.hidden_size) == (4, UNITS - 2)
    assert small.rnn.weight_ih_l0.shape == (rnn.weight_ih_l0.shape[0] // UNITS * (UNITS - 2), 4)
    assert small.out.in_features == (UNITS - 2) * (1 + both)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_cells_in_a_loop(kind: str, bias: bool) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        state, out = None, []
        for step in x.unbind(1):
            state = m.cell(m.inp(step).relu(), state)
            out.append(state[0] if isinstance(state, tuple) else state)
        return m.out(torch.stack(out, 1))

    modules = {"inp": nn.Linear(4, 5), "cell": CELLS[kind](5, UNITS, bias=bias), "out": nn.Linear(UNITS, 3)}
    agrees(prepared(Function(forward, **modules)), (normal(2, 7, 4),), (normal(3, 2, 4),), inp=5, cell=UNITS)


# -- what reads them, and what they start from -------------------------------------------------------
def both_ends(m: Any, x: Tensor) -> Tensor:
    _, (h, c) = m.rnn(m.embed(x))
    return m.out(torch.cat([h[-2], h[-1]], 1)) + m.cells(c.transpose(0, 1).flatten(1))


def attended(m: Any, x: Tensor) -> Tensor:
    every, _ = m.rnn(m.embed(x))
    return m.out((m.score(every).softmax(1) * every).sum(1))


def halves(m: Any, x: Tensor) -> Tensor:
    forth, back = m.rnn(m.embed(x))[0].chunk(2, -1)
    return m.short(forth[:, -1] + back[:, 0])


@pytest.mark.parametrize("forward", [both_ends, attended, halves])
def test_what_reads_a_bidirectional_layer(forward: Any) -> None:
    modules = {"embed": nn.Embedding(11, 5), "rnn": nn.LSTM(5, UNITS, 2, batch_first=True, bidirectional=True)}
    modules |= {"out": nn.Linear(2 * UNITS, 3), "cells": nn.Linear(4 * UNITS, 3)}
    modules |= {"score": nn.Linear(2 * UNITS, 1), "short": nn.Linear(UNITS, 3)}
    inputs = [(torch.randint(11, (4, n)),) for n in (7, 3)]
    used = forward.__code__.co_names
    model = prepared(Function(forward, **{n: m for n, m in modules.items() if n in used}))
    agrees(model, *inputs, embed=5, rnn=UNITS)


def computed_state(m: Any, x: Tensor) -> Tensor:
    h, c = m.h(x[0])[None], m.c(x[0]).tanh()[None]
    return m.out(m.rnn(x, (h, c))[0])


def loud_state(m: Any, x: Tensor) -> Tensor:
    h = m.h(x[0]).sigmoid()[None]
    return m.out(m.rnn(x, (h, torch.ones_like(h)))[0]) + m.out(m.c(x[0]))


def handed_on(m: Any, x: Tensor) -> Tensor:
    state = m.first(x)[1]
    return m.out(m.rnn(x[:2], state)[0]) + m.out(m.h(x[0])) + m.out(m.c(x[0]))


def step_by_step(m: Any, x: Tensor) -> Tensor:
    state, out = (m.h(x[0])[None], m.c(x[0])[None]), []
    for step in x:
        y, state = m.rnn(step[None], state)
        out.append(m.out(y))
    return torch.cat(out)


@pytest.mark.parametrize("forward", [computed_state, loud_state, handed_on, step_by_step])
def test_states_that_the_network_makes_are_cut_with_the_units(forward: Any) -> None:
    modules = {"h": nn.Linear(5, UNITS), "c": nn.Linear(5, UNITS), "rnn": nn.LSTM(5, UNITS), "out": nn.Linear(UNITS, 3)}
    modules |= {"first": nn.LSTM(5, UNITS)} if forward is handed_on else {}
    first = "first" if forward is handed_on else "h"
    structure = agrees(prepared(Function(forward, **modules)), (normal(7, 3, 5),), (normal(4, 2, 5),), **{first: UNITS})
    # A cell that starts at one cannot be silenced by its own weights.
    assert ("out.weight" in structure.gates) == (forward is loud_state)
    assert {g.axis for g in structure.gates["rnn.weight_hh_l0"]} == {int(forward is loud_state)}


def test_a_learned_state_is_cut_with_the_units() -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start, self.rnn = nn.Parameter(torch.randn(2, 1, UNITS)), nn.GRU(5, UNITS, 2)
            self.out = nn.Linear(UNITS, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x, self.start.expand(-1, x.shape[1], -1).contiguous())[0])

    structure = agrees(prepared(Learned()), (normal(7, 3, 5),), rnn=UNITS)
    assert "start" in structure.gates


def test_a_state_from_outside_fixes_the_units() -> None:
    model = prepared(Function(lambda m, x, h: m.out(m.rnn(x, h)[0]), rnn=nn.GRU(5, UNITS), out=nn.Linear(UNITS, 3)))
    structure = agrees(model, (normal(7, 3, 5), normal(1, 3, UNITS)))
    assert any("the input" in f.reason and "'rnn'" in f.reason for f in structure.frozen)


class Sized(nn.Module):
    """Makes its own states and reshapes by a width that it holds, as tutorials do."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.hidden_dim, self.kind = UNITS, kind
        self.first, self.second = nn.LSTM(5, UNITS, batch_first=True), nn.LSTM(UNITS, UNITS, batch_first=True)
        self.out = nn.Linear(UNITS, 3)

    def start(self, x: Tensor) -> tuple[Tensor, Tensor]:
        width = UNITS if self.kind == "literal" else self.hidden_dim
        return torch.zeros(1, x.shape[0], width, dtype=x.dtype), torch.zeros(1, x.shape[0], width, dtype=x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "scale":
            return self.out(self.second(self.first(x)[0])[0] / self.hidden_dim**0.5)
        if self.kind == "reshape":
            y = self.second(self.first(x)[0])[0].reshape(-1, self.hidden_dim)
            return self.out(y).view(x.shape[0], x.shape[1], 3)
        return self.out(self.second(self.first(x, self.start(x))[0], self.start(x))[0])


@pytest.mark.parametrize(
    ("kind", "widths"),
    [
        ("zeros", {"first": UNITS}),  # one number for both: they are one family
        ("reshape", {"first": UNITS, "second": UNITS}),
        ("scale", {"first": UNITS, "second": UNITS}),
        ("literal", {}),
    ],
)
def test_a_width_that_the_model_holds_follows_only_where_it_must(kind: str, widths: dict[str, int]) -> None:
    model = prepared(Sized(kind))
    structure = agrees(model, (normal(3, 7, 5),), (normal(2, 4, 5),), **widths)
    followed = [a.name for a in structure.attributes if a.path == ""]
    assert followed == (["hidden_dim"] if kind in ("zeros", "reshape") else [])
    if kind == "literal":
        assert any(f.where == "first.weight_hh_l0[in]" and "code fixes" in f.reason for f in structure.frozen)


# -- packed, projected, real -------------------------------------------------------------------------
@pytest.mark.parametrize("fill", [0.0, -1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences(kind: str, fill: float) -> None:
    def forward(m: Any, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(m.inp(x).relu(), lengths, batch_first=True, enforce_sorted=False)
        every, last = m.rnn(packed)
        padded, _ = pad_packed_sequence(every, batch_first=True, padding_value=fill)
        return m.out(padded), m.top(last[0][-1] if isinstance(last, tuple) else last[-1])

    modules = {"inp": nn.Linear(4, 5), "rnn": KINDS[kind](5, UNITS, 2, bidirectional=True, batch_first=True)}
    model = prepared(Function(forward, **modules, out=nn.Linear(2 * UNITS, 3), top=nn.Linear(UNITS, 2)))
    shorter = (normal(2, 5, 4), torch.tensor([1, 5]))
    structure = agrees(model, (normal(3, 7, 4), torch.tensor([3, 7, 5])), shorter, inp=5, rnn=UNITS)
    assert ("out.weight" in structure.gates) == (fill != 0)


@pytest.mark.parametrize("both", [False, True])
def test_projected_outputs_are_cut_and_their_cells_stay(both: bool) -> None:
    rnn = nn.LSTM(5, UNITS, 2, proj_size=4, bidirectional=both)
    model = prepared(Function(lambda m, x: m.out(m.rnn(x)[0]), rnn=rnn, out=nn.Linear(4 * (1 + both), 3)))
    structure = agrees(model, (normal(7, 3, 5),), (normal(2, 3, 5),), rnn=4)
    assert any(f.where == "rnn.weight_hr_l0[in]" and "more cells than outputs" in f.reason for f in structure.frozen)
    small: Any = shrink(model, structure, torch.tensor([True, False, True, True])).model
    assert (small.rnn.hidden_size, small.rnn.proj_size) == (UNITS, 3)


def test_the_trace_is_as_long_for_a_long_sequence_and_the_same_on_real_tensors() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.out(m.rnn(x)[0])
        return y if not m.branch or float(y.sum()) > 1e9 else y * 1

    model = prepared(Function(forward, rnn=nn.GRU(5, UNITS, 2, bidirectional=True), out=nn.Linear(2 * UNITS, 3)))
    model.branch = False
    short, long = (read(model, normal(n, 2, 5)) for n in (3, 300))
    assert [name for name, _ in short.history] == [name for name, _ in long.history]
    assert sum(name == "gru" for name, _ in short.history) == 1
    faked = trace(model, normal(3, 2, 5))
    model.branch = True
    real = trace(model, normal(3, 2, 5))
    assert not read(model, normal(3, 2, 5)).faked and short.faked
    assert {k: v.tolist() for k, v in real.axes.items()} == {k: v.tolist() for k, v in faked.axes.items()}


def test_weight_normed_layers_are_read_or_fixed_never_refused() -> None:
    for name, widths in (("weight_ih_l0", {"rnn": UNITS}), ("weight_hh_l0", {})):
        rnn = nn.utils.parametrizations.weight_norm(nn.GRU(5, UNITS).double(), name)
        model = Function(lambda m, x: m.out(m.rnn(x)[0]), rnn=rnn, out=nn.Linear(UNITS, 3)).double().eval()
        agrees(model, (normal(7, 3, 5),), **widths)


@pytest.mark.parametrize("units", [1, 2])
def test_narrow_layers(units: int) -> None:
    model = prepared(Function(lambda m, x: m.out(m.rnn(x)[0]), rnn=nn.LSTM(5, units, 2), out=nn.Linear(units, 3)))
    agrees(model, (normal(7, 3, 5),), **({"rnn": 2} if units == 2 else {}))
