"""Read a model's structure: one run, the rules' facts, their resolution, and a trial of the result."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from .build import build
from .copying import tensors_in
from .coupling import Classes
from .labels import Array
from .ledger import Ledger
from .tracing import read
from .trial import FIXED_BY_CODE, failing
from .types import Structure


def trace(model: nn.Module, example_inputs: Any, *, trial: bool = True, seconds: float = 20.0) -> Structure:
    """What can be removed from a model, what goes with it, what silences it and what it costs.

    Args:
        model: left untouched: weights, mode, hooks, random state.
        example_inputs: a tensor, a tuple of arguments, or a dict of keyword arguments; the first axis of
            the first tensor is the batch.
        trial: run the cut network once on fake tensors and fix what the code cannot run without.
        seconds: how long the search for such places may take.

    Raises:
        StructureError: the model cannot be copied or does not run on the inputs. An operator that is not
            known is no error: what it touches is fixed and listed in ``frozen``.
    """
    ledger = read(model, example_inputs)
    structure = _resolve(model, ledger, [], set(), example_inputs)
    if not trial or not structure.atoms:
        return structure
    return _tried(model, ledger, structure, example_inputs, seconds)


def _resolve(
    model: nn.Module, ledger: Ledger, banned: list[tuple[Array, str]], rows: set[int], inputs: Any
) -> Structure:
    tensors = tensors_in(inputs)
    batch = tensors[0].shape[0] if tensors and tensors[0].dim() else 1
    structure = build(model, ledger, Classes(ledger, banned, rows), max(batch, 1))
    structure.inputs = inputs
    return structure


def _tried(model: nn.Module, ledger: Ledger, structure: Structure, inputs: Any, seconds: float) -> Structure:
    """Fix what fails the trial; where a joint axis was cut by columns, rows are tried first."""
    bad = failing(model, structure, inputs, seconds)
    if not bad:
        return structure
    rows = _splits_of(ledger, structure, bad)
    if rows:
        other = _resolve(model, ledger, [], rows, inputs)
        worse = failing(model, other, inputs, seconds)
        if len(worse) < len(bad):
            structure, bad = other, worse
        else:
            rows = set()
    banned: list[tuple[Array, str]] = []
    for _ in range(3):
        if not bad:
            break
        banned += [(_nodes(ledger, structure, index), FIXED_BY_CODE) for index in bad]
        structure = _resolve(model, ledger, banned, rows, inputs)
        bad = failing(model, structure, inputs, seconds)
    return structure


def _nodes(ledger: Ledger, structure: Structure, family: int) -> Array:
    """A family's nodes on the parameter axes it touches."""
    atoms = structure.families[family].atoms
    found = []
    for axis in ledger.axes:
        ids = structure.axes.get((axis.tensor, axis.axis))
        if ids is not None:
            found.append(axis.start + np.flatnonzero(np.isin(ids, atoms)))
    return np.concatenate(found)


def _splits_of(ledger: Ledger, structure: Structure, families: list[int]) -> set[int]:
    """Joint axes that hold nodes of these families."""
    marked = np.zeros(ledger.size, dtype=bool)
    for index in families:
        marked[_nodes(ledger, structure, index)] = True
    # Activations carry the producers' own nodes, so a split of a family's axis holds marked nodes.
    return {n for n, split in enumerate(ledger.splits) if marked[split.ids].any()}
