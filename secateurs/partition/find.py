"""Finding the players of a model at a granularity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import StructureError, suggest
from ..structure import Family, Structure, trace
from .gate import Gate
from .gates import Gates
from .layers import WITH_WIDTH, Layer, outputs, within
from .players import Players, bind
from .resources import split_by_multiplicity

GRANULARITIES = ("channel", "head", "block", "weight")
ALONE = {
    "weight": "every weight is its own player",
    "block": "a block holds channels and heads, and both would own what silences it",
}


def players(
    model: nn.Module,
    example_inputs: Any,
    granularity: str | Iterable[str] = "channel",
    *,
    ignore: Sequence[str] = (),
    also: list[Any] | None = None,
) -> Players:
    """Find the players of a model.

    Args:
        model: any module whose structure the tracer reads; it is left untouched.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, with a batch axis.
        granularity: 'channel' (neurons, filters), 'head', both, 'block' (residual blocks), or 'weight'.
        ignore: modules whose outputs are left whole, by path or pattern (``layer1``, ``*.conv2``), with all that lies
            below them. What is cut together with such an output stays too.
        also: a list of further inputs, for code that ``example_inputs`` do not reach: branches on data, arguments.
    Returns:
        the players; ``players.layers`` says what they are, ``players.structure.frozen`` what cannot be cut and why.
    Raises:
        StructureError: nothing of that granularity can be pruned (the message gives the reasons), or nothing is called
            what ``ignore`` names.
    """
    wanted = (granularity,) if isinstance(granularity, str) else tuple(granularity)
    for name in wanted:
        if name not in GRANULARITIES:
            raise StructureError(f"unknown granularity {name!r}; {suggest(name, GRANULARITIES)}")
    for name in ALONE:
        if name in wanted and len(wanted) > 1:
            raise StructureError(f"granularity {name!r} cannot be combined with others: {ALONE[name]}")
    _known(model, ignore)
    blocks = wanted == ("block",)
    structure = trace(model, example_inputs, also=also, trial=not blocks, blocks=blocks)
    if wanted == ("weight",):
        return _weights(model, structure, example_inputs, ignore)
    return _coupled(model, structure, example_inputs, wanted, ignore)


def _coupled(
    model: nn.Module, structure: Structure, inputs: Any, kinds: tuple[str, ...], ignore: Sequence[str]
) -> Players:
    layer_of = split_by_multiplicity(np.asarray(structure.family_of), structure.axes, structure.atoms)
    layers: list[Layer] = []
    order: list[np.ndarray] = []
    start = 0
    for number in _by_first_atom(layer_of):
        atoms = np.flatnonzero(layer_of == number)
        family = structure.families[int(structure.family_of[atoms[0]])]
        if family.kind == "block":
            family = _left(model, family, ignore)
            atoms = family.atoms
        stop = start + len(atoms)
        layer = Layer(
            family.name,
            family.kind,
            start,
            stop,
            tuple(family.members),
            dense=len(atoms),
            channels=_channels(structure, family.kind, atoms),
            least=min(family.minimum, len(atoms)),
        )
        whole = family.kind == "block" or not _ignored(outputs(layer), ignore)
        if family.kind not in kinds or not layer.size or not whole:
            continue
        layers.append(layer)
        order.append(atoms)
        start = stop
    if not layers:
        about = "block" if kinds == ("block",) else "axis"
        none = "no module hands its input on when its branches are silent" if about == "block" else ""
        reasons = "; ".join(sorted({f"{f.where}: {f.reason}" for f in structure.frozen if f.kind == about})[:5])
        raise StructureError(
            f"{type(model).__name__} has nothing to prune at granularity {'+'.join(kinds)!r}"
            + (" beside what is ignored" if ignore else "")
            + (f" ({reasons or none})" if reasons or none else "")
        )
    atoms = np.concatenate(order)
    engine = bind(model, structure, atoms)
    granularity = "+".join(kinds)
    return Players(model, structure, layers, torch.from_numpy(atoms), engine, inputs, granularity, tuple(ignore))


def _left(model: nn.Module, family: Family, ignore: Sequence[str]) -> Family:
    """A family of blocks without those that are to be ignored, or that hold what is."""
    held = [
        [name for source in (block.named_modules, block.named_parameters) for name, _ in source(prefix=path)]
        for path in family.members
        for block in [model.get_submodule(path)]
    ]
    stays = np.array([not _ignored(names, ignore) for names in held])
    return replace(family, atoms=family.atoms[stays], members=[m for m, s in zip(family.members, stays) if s])


def _channels(structure: Structure, kind: str, atoms: np.ndarray) -> int:
    """Indices of its layer's output that a player holds: the most that its producer's rows and what silences it all
    come in multiples of. A head's are the columns of the output projection."""
    if kind not in WITH_WIDTH:
        return 0
    places = {(name, gate.axis) for name, gates in structure.gates.items() for gate in gates} & structure.axes.keys()
    if kind != "head":
        places |= {place for place in structure.axes if place[1] == 0}
    held = (int((structure.axes[place] == atoms[0]).sum()) for place in places)
    return math.gcd(*held) or 1


def _weights(model: nn.Module, structure: Structure, inputs: Any, ignore: Sequence[str]) -> Players:
    """Every element of every weight of two or more dimensions is a player."""
    layers, gates, start = [], [], 0
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or _ignored([name], ignore):
            continue
        stop = start + parameter.numel()
        layers.append(Layer(name, "weight", start, stop, dense=parameter.numel()))
        gates.append(Gate(name, None, start))
        start = stop
    if not layers:
        raise StructureError(f"{type(model).__name__} has no weight of two or more dimensions to prune")
    engine = Gates(gates, dict(model.named_parameters()), start)
    return Players(model, structure, layers, torch.arange(start), engine, inputs, "weight", tuple(ignore))


def _by_first_atom(layer_of: np.ndarray) -> Iterable[int]:
    numbers, first = np.unique(layer_of, return_index=True)
    return (int(n) for n, _ in sorted(zip(numbers, first), key=lambda pair: pair[1]) if n >= 0)


def _ignored(places: Iterable[str], ignore: Sequence[str]) -> bool:
    return any(within(place, pattern) for place in places for pattern in ignore)


def _known(model: nn.Module, ignore: Sequence[str]) -> None:
    """A misspelt name would let be cut what was to be left alone."""
    if isinstance(ignore, str):
        raise StructureError(f"ignore={ignore!r}: give a list of names, such as [{ignore!r}]")
    names = [name for name, _ in [*model.named_modules(), *model.named_parameters()] if name]
    for pattern in ignore:
        if not any(within(name, pattern) for name in names):
            raise StructureError(f"nothing is called {pattern!r}, which was to be ignored; {suggest(pattern, names)}")
