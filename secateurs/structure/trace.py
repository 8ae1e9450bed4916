"""Read a model's structure: one run, the rules' facts, their resolution, and a trial of the result."""

from __future__ import annotations

from dataclasses import dataclass, field
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
        trial: trace the cut network, too, on fake tensors, and fix what the code cannot lose.
        seconds: how long the search for such places may take.

    Raises:
        StructureError: the model cannot be copied or does not run on the inputs. An operator that is not
            known is no error: what it touches is fixed and listed in ``frozen``.
    """
    resolver = _Resolver(model, read(model, example_inputs), example_inputs, seconds)
    structure, nodes = resolver.resolve()
    return resolver.tried(structure, nodes) if trial else structure


@dataclass
class _Resolver:
    """One trace's facts, resolved under growing knowledge of what the code does not allow."""

    model: nn.Module
    ledger: Ledger
    inputs: Any
    seconds: float
    banned: list[tuple[Array, str]] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)

    def resolve(self) -> tuple[Structure, Array]:
        tensors = tensors_in(self.inputs)
        batch = tensors[0].shape[0] if tensors and tensors[0].dim() else 1
        classes = Classes(self.ledger, self.banned, self.rows)
        structure, nodes = build(self.model, self.ledger, classes, max(batch, 1))
        structure.inputs = self.inputs
        return structure, nodes

    def failing(self, structure: Structure, nodes: Array) -> list[int]:
        return failing(self.model, self.ledger, nodes, structure, self.inputs, self.seconds)

    def tried(self, structure: Structure, nodes: Array) -> Structure:
        """Fix what fails the trial; where a joint axis was cut by columns, rows are tried first."""
        bad = self.failing(structure, nodes)
        self.rows = self._splits_of(nodes, structure, bad)
        if self.rows:
            other, other_nodes = self.resolve()
            worse = self.failing(other, other_nodes)
            if len(worse) < len(bad):
                structure, nodes, bad = other, other_nodes, worse
            else:
                self.rows = set()
        while bad:
            atoms = np.concatenate([structure.families[index].atoms for index in bad])
            self.banned.append((np.flatnonzero(np.isin(nodes, atoms)), FIXED_BY_CODE))
            structure, nodes = self.resolve()
            bad = self.failing(structure, nodes)
        return structure

    def _splits_of(self, nodes: Array, structure: Structure, families: list[int]) -> set[int]:
        """Joint axes that hold nodes of these families."""
        atoms = [structure.families[index].atoms for index in families]
        marked = np.isin(nodes, np.concatenate(atoms)) if atoms else np.zeros(len(nodes), dtype=bool)
        # Activations carry the producers' own nodes, so a split of a family's axis holds marked nodes.
        return {n for n, split in enumerate(self.ledger.splits) if marked[split.ids].any()}
