"""The vectorised reductions against a Python loop over players, in float64."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateurs.partition import Gate, Gates


def _slices(gates, named, player):
    """(parameter name, boolean mask) of everything a player owns, gate by gate."""
    for gate in gates:
        shape = named[gate.name].shape
        mine = gate.owner == player
        if gate.axis is None:
            yield gate, mine
        else:
            view = [-1 if a == gate.axis else 1 for a in range(len(shape))]
            yield gate, mine.view(view).expand(shape)


def _other(gates, gate, named, s):
    """Product of the other gates' participation over the same parameter."""
    out = torch.ones_like(named[gate.name])
    for other in gates:
        if other is gate or other.name != gate.name:
            continue
        factor = torch.where(other.owner >= 0, s[other.owner.clamp_min(0)], 1.0)
        if other.axis is not None:
            factor = factor.view([-1 if a == other.axis else 1 for a in range(out.dim())])
        out = out * factor
    return out


@st.composite
def _problems(draw):
    seed = draw(st.integers(0, 10_000))
    g = torch.Generator().manual_seed(seed)
    count = draw(st.integers(2, 7))
    named, gates = {}, []

    def owners(size):
        style = draw(st.sampled_from(["consecutive", "shuffled", "partial", "shared"]))
        if style == "consecutive" and size <= count:
            start = draw(st.integers(0, count - size))
            return torch.arange(start, start + size)
        if style == "partial":
            return torch.randint(-1, count, (size,), generator=g)
        return torch.randint(0, count, (size,), generator=g)

    for i in range(draw(st.integers(1, 4))):
        rank = draw(st.integers(1, 4))
        shape = tuple(draw(st.integers(1, 4)) for _ in range(rank))
        name = f"p{i}"
        named[name] = nn.Parameter(torch.randn(shape, generator=g, dtype=torch.float64))
        if draw(st.booleans()) and rank >= 2:
            axes = [0, 1]
        elif draw(st.integers(0, 4)) == 0:
            axes = [None]
        else:
            axes = [draw(st.integers(0, rank - 1))]
        for axis in axes:
            if axis is None:
                owner = torch.randint(-1, count, shape, generator=g)
            else:
                owner = owners(shape[axis])
            gates.append(Gate(name, axis, owner))
    return named, gates, count, torch.rand(count, generator=g, dtype=torch.float64), g


@given(_problems())
@settings(max_examples=150, deadline=None)
def test_dot_and_scaled_match_loops(problem):
    named, gates, count, s, g = problem
    engine = Gates(gates, named, count)
    left = [torch.randn(p.shape, generator=g, dtype=torch.float64) for p in engine.parameters]
    right = [torch.randn(p.shape, generator=g, dtype=torch.float64) for p in engine.parameters]
    a, b = dict(zip(engine.names, left)), dict(zip(engine.names, right))
    for participation in (None, s):
        expected = torch.zeros(count, dtype=torch.float64)
        for player in range(count):
            for gate, mask in _slices(gates, named, player):
                product = a[gate.name] * b[gate.name]
                if participation is not None:
                    product = product * _other(gates, gate, named, participation)
                expected[player] += (product * mask).sum()
        torch.testing.assert_close(engine.dot(left, right, participation), expected)
    out = [torch.empty_like(x) for x in left]
    engine.scaled(left, s, out=out)
    for name, value in zip(engine.names, out):
        expected_value = a[name].clone()
        for gate in gates:
            if gate.name == name:
                factor = torch.where(gate.owner >= 0, s[gate.owner.clamp_min(0)], 1.0)
                if gate.axis is not None:
                    factor = factor.view([-1 if k == gate.axis else 1 for k in range(value.dim())])
                expected_value = expected_value * factor
        torch.testing.assert_close(value, expected_value)
    engine.scaled(left, s, out=left)
    for x, y in zip(left, out):
        torch.testing.assert_close(x, y)


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_competition_matches_a_double_loop(seed, count, width):
    g = torch.Generator().manual_seed(seed)
    weight = nn.Parameter(torch.randn(count, width, generator=g, dtype=torch.float64))
    bias = nn.Parameter(torch.randn(count, generator=g, dtype=torch.float64))
    s = torch.rand(count, generator=g, dtype=torch.float64)
    everyone = torch.arange(count)
    engine = Gates([Gate("w", 0, everyone), Gate("b", 0, everyone)], {"w": weight, "b": bias}, count)
    theta = {"w": weight.detach(), "b": bias.detach()}
    expected = torch.zeros(count, dtype=torch.float64)
    for i in range(count):
        for j in range(count):
            if i != j:
                inner = (theta["w"][i] * theta["w"][j]).sum() + theta["b"][i] * theta["b"][j]
                expected[i] += s[j] * inner
    torch.testing.assert_close(engine.competition([theta[n] for n in engine.names], s), expected)


def test_players_that_own_several_indices_compete_as_wholes():
    """Two heads of two rows each: ⟨θ_1, θ_2⟩ pairs row k with row k, and a head does not compete with itself."""
    weight = nn.Parameter(torch.arange(8.0, dtype=torch.float64).view(4, 2))
    engine = Gates([Gate("w", 0, torch.tensor([0, 0, 1, 1]))], {"w": weight}, 2)
    s = torch.tensor([0.5, 1.0], dtype=torch.float64)
    rows = weight.detach()
    inner = (rows[0] * rows[2]).sum() + (rows[1] * rows[3]).sum()
    expected = torch.stack([1.0 * inner, 0.5 * inner])
    torch.testing.assert_close(engine.competition([rows], s), expected)
