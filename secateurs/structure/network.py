"""The network as a picture needs it: layers in the order in which they run, and where their streams meet.

A *node* is a layer (what reads parameters) or an operator at which values of several nodes meet; whatever else a value
passes through (activations, pooling, views) belongs to the node that it came from. Norms and other vectors that only
scale what one layer makes, or what one layer reads, are told beside that layer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import StructureError
from .chains import spelled
from .coupling import UNUSED
from .evidence import Evidence
from .labels import Array
from .ledger import OUTPUT
from .reader import CONSTANT

if TYPE_CHECKING:
    from .types import Structure

SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "cat": "concat", "scaled_dot_product_attention": "attention"}


@dataclass(frozen=True)
class Node:
    """One box of the picture.

    Attributes:
        name: a module path or a parameter; of a meeting, the module in which it happens.
        kind: a layer's class, or an operator.
        also: modules that are told beside it.
        inputs: the nodes whose values it reads, ascending; all are earlier.
        atoms: of each index of the axis that it makes; −1 where fixed; empty where no axis is known.
        reason: why indices are fixed, if any are.
    """

    name: str
    kind: str
    also: tuple[str, ...] = ()
    inputs: tuple[int, ...] = ()
    atoms: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    reason: str = ""


@dataclass
class _Draft:
    """A node while operators are read; ``vector``: its parameters only scale and shift."""

    name: str
    kind: str
    operator: int
    inputs: set[int]
    owner: str = ""
    vector: bool = False
    also: tuple[str, ...] = ()


def network(structure: Structure) -> list[Node]:
    """The nodes of a traced model in execution order; the first is its input, the last its output.

    Raises:
        StructureError: the structure was computed by ``restrict``, not traced.
    """
    evidence = structure.evidence
    if evidence is None:
        raise StructureError("this structure was computed for a network that had been cut; only a trace can be drawn")
    nodes: list[Node] = []
    made: list[Array] = []
    for draft in _folded(_Reading(structure, evidence).drafts):
        node, ids = _node(draft, evidence, [made[i] for i in draft.inputs])
        nodes.append(node)
        made.append(ids)
    return nodes


class _Reading:
    """From operators to drafts."""

    def __init__(self, structure: Structure, evidence: Evidence) -> None:
        self.shapes, self.evidence = structure.shapes, evidence
        self.drafts = [_Draft("input", "", 0, set())]
        # Operator → the node that its value belongs to; or, where it has read tensors alone, which parameters.
        self.stream: dict[int, int] = {0: 0}
        self.held: dict[int, list[str]] = {}
        owners = {name.rpartition(".")[0] for name in evidence.facts.tensors}
        self.leaves = {o for o in owners if not any(p != o and p.startswith(o + "." if o else "") for p in owners)}
        last = next(n for n, o in enumerate(evidence.operators) if o.name == OUTPUT)  # further runs are not drawn
        for number in range(1, last):
            if number in evidence.facts.live:
                self._read(number)
        inputs = {self.stream[o] for o in evidence.facts.inputs_of[last] if o in self.stream}
        self.drafts.append(_Draft("output", "", last, inputs))

    def _read(self, number: int) -> None:
        operator, inputs = self.evidence.operators[number], self.evidence.facts.inputs_of[number]
        sources = {self.stream[o] for o in inputs if o in self.stream}
        held = self._parameters(inputs)
        if not sources:
            self.held[number] = held
        elif held:
            self._layer(number, sources, held)
        elif len(sources) == 1:
            self.stream[number] = next(iter(sources))
        else:
            name = spelled(operator)
            self._add(number, _Draft(operator.path, SIGNS.get(name, name), number, sources))

    def _parameters(self, inputs: set[int]) -> list[str]:
        found: dict[str, None] = {}
        for origin in sorted(inputs, reverse=True):
            if CONSTANT < origin < 0:
                name = self.evidence.facts.tensors[-1 - origin]
                if name in self.evidence.parameters:
                    found[name] = None
            else:
                found |= dict.fromkeys(self.held.get(origin, ()))
        return list(found)

    def _layer(self, number: int, sources: set[int], held: list[str]) -> None:
        operator = self.evidence.operators[number]
        main = max(held, key=lambda name: len(self.shapes[name]))
        owner = main.rpartition(".")[0]
        source = next(iter(sources)) if len(sources) == 1 else 0
        if owner in self.leaves and source and self.drafts[source].owner == owner:
            self.stream[number] = source  # a bias that is added apart, and the like
            self.drafts[source].operator = number
            return
        if owner in self.leaves and operator.path == owner and operator.module is not None:
            name, kind = owner, operator.module.__name__
        else:
            name, kind = owner if owner in self.leaves else main, spelled(operator)
        vector = len(sources) == 1 and all(len(self.shapes[name]) < 2 for name in held)
        self._add(number, _Draft(name, SIGNS.get(kind, kind), number, sources, owner, vector))

    def _add(self, number: int, draft: _Draft) -> None:
        self.stream[number] = len(self.drafts)
        self.drafts.append(draft)


def _folded(drafts: list[_Draft]) -> list[_Draft]:
    """Vectors beside the layer that they scale, or else the one that alone reads them; renumbered."""
    into = list(range(len(drafts)))
    for number, draft in enumerate(drafts):
        draft.inputs = {into[i] for i in draft.inputs}
        users = Counter(i for d in drafts for i in {into[j] for j in d.inputs})
        source = next(iter(draft.inputs), 0)
        if draft.vector and source and users[source] == 1 and drafts[source].owner:
            into[number] = source
            drafts[source] = replace(
                drafts[source], also=(*drafts[source].also, draft.name), operator=draft.operator, vector=False
            )
    for number, draft in reversed(list(enumerate(drafts))):
        users_of = [n for n, d in enumerate(drafts) if into[n] == n and number in d.inputs]
        if draft.vector and into[number] == number and len(users_of) == 1:
            user = drafts[users_of[0]]
            if user.owner and len(user.inputs) == 1:
                into[number] = users_of[0]
                drafts[users_of[0]] = replace(user, also=(draft.name, *user.also), inputs=draft.inputs)
    left = [n for n in range(len(drafts)) if into[n] == n]
    place = {n: k for k, n in enumerate(left)}
    return [replace(drafts[n], inputs={place[i] for i in drafts[n].inputs}) for n in left]


def _node(draft: _Draft, evidence: Evidence, read: list[Array]) -> tuple[Node, Array]:
    """The finished node and the nodes of the axis that it makes; ``read``: those of its inputs."""
    ids = _axis(draft, evidence, np.concatenate([*read, np.empty(0, dtype=np.int64)]))
    ids = ids[np.sort(np.unique(ids, return_index=True)[1])]  # what is folded into a batch is there many times
    atoms = evidence.nodes[ids]
    fixed = evidence.root[ids[atoms < 0]]
    reason = evidence.reason.get(int(fixed[0]), UNUSED) if fixed.size else ""
    return Node(draft.name, draft.kind, draft.also, tuple(sorted(draft.inputs)), atoms, reason), ids


def _axis(draft: _Draft, evidence: Evidence, read: Array) -> Array:
    """Of all axes of what it makes: one that can be cut, or that it was given, or that its own tensors have."""

    def rank(ids: Array) -> tuple[bool, bool, bool, int]:
        axis = evidence.axis_of(int(ids[0]))
        tensor = evidence.facts.axes[axis].tensor if axis is not None else ""
        own = bool(draft.owner) and tensor.startswith(draft.owner + ".")
        return bool((evidence.nodes[ids] >= 0).any()), bool(np.isin(ids, read).any()), own, ids.size

    found = [block.ids.ravel() for block in evidence.blocks(draft.operator)]
    return max(found, key=rank, default=np.empty(0, dtype=np.int64))
