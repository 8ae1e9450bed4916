"""Why is this axis tied, or fixed? The chain of operators, in the model's own names.

>>> import torch
>>> from torch import nn
>>> from secateurs import trace
>>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
>>> print(trace(model, torch.randn(2, 4)).why("2.weight[in]"))
2.weight[in] belongs to 0: 3 channels. Each is cut in all these places, for they are tied:
  2.weight[in] → linear (2) ← relu (1) ← linear (0) ← 0.{weight[out], bias}

An arrow points the way the data flows. Where two meet, that operator ties what comes from both sides.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import StructureError
from .build import SILENT_REASONS
from .chains import DOWN, Chain, in_words, lines, step_to
from .coupling import LOUD, UNUSED
from .evidence import Evidence, Graph, Spot, way_to

if TYPE_CHECKING:
    from .types import Structure


@dataclass(frozen=True)
class Tied:
    """An axis that is cut with others.

    Attributes:
        family, kind, groups: name, kind and number of the atoms.
        chains: to every other place; to the axis itself where several of its indices are one atom.
    """

    axis: str
    family: str
    kind: str
    groups: int
    chains: tuple[Chain, ...]

    def __str__(self) -> str:
        many = f"{self.groups} {self.kind}" + ("s" if self.groups != 1 else "")
        head = f"{self.axis} belongs to {self.family}: {many}"
        if not self.chains:
            return f"{head}. It is cut nowhere else"
        return "\n".join([f"{head}. Each is cut in all these places, for they are tied:", *lines(self.chains)])


@dataclass(frozen=True)
class Fixed:
    """Indices of an axis that cannot be cut: how many, why, and the chain to the operator that fixes them, if one does.

    ``because``: where zeroed weights do not give zeros, what makes them something else.
    """

    axis: str
    size: int
    reason: str
    chain: Chain | None = None
    because: str = ""

    def __str__(self) -> str:
        text = f"{self.axis}: {self.size} fixed: {self.reason}" + (f"; {self.because}" if self.because else "")
        return f"{text}\n  {self.chain}" if self.chain is not None else text


@dataclass(frozen=True)
class Why:
    """All that can be said of a place. ``blocks`` are sentences about whole modules."""

    where: str
    tied: tuple[Tied, ...] = ()
    fixed: tuple[Fixed, ...] = ()
    blocks: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return "\n".join(map(str, (*self.blocks, *self.tied, *self.fixed)))

    def as_dict(self) -> dict[str, Any]:
        """The same as data, for JSON."""
        return {
            "where": self.where,
            "tied": [
                {
                    "axis": t.axis,
                    "family": t.family,
                    "kind": t.kind,
                    "groups": t.groups,
                    "chains": [c.as_dict() for c in t.chains],
                }
                for t in self.tied
            ],
            "fixed": [
                {
                    "axis": f.axis,
                    "size": f.size,
                    "reason": f.reason,
                    "because": f.because,
                    "chain": f.chain and f.chain.as_dict(),
                }
                for f in self.fixed
            ],
            "blocks": list(self.blocks),
        }


def why(structure: Structure, where: str) -> Why:
    """What ties the axes at a place to others, or fixes them; see ``Structure.why``."""
    evidence = structure.evidence
    if evidence is None:
        raise StructureError(
            "nothing is known of how this structure came about: it was computed for a network that had been cut; "
            "trace the network, or ask the structure that was traced"
        )
    asked = _Question(structure, evidence)
    axes, blocks = asked.axes(where), asked.blocks(where)
    if not axes and not blocks:
        raise StructureError(asked.unknown(where))
    return Why(where, tuple(asked.tied(axes)), tuple(asked.fixed(axes, where)), tuple(blocks))


class _Question:
    def __init__(self, structure: Structure, evidence: Evidence) -> None:
        self.structure, self.evidence = structure, evidence
        self._graphs: dict[tuple[int, bool], Graph] = {}

    def graph(self, root: int, jumps: bool = False) -> Graph:
        if (root, jumps) not in self._graphs:
            self._graphs[root, jumps] = Graph(self.evidence, root, jumps)
        return self._graphs[root, jumps]

    # -- names ---------------------------------------------------------------------------------------
    def axes(self, where: str) -> list[int]:
        """Numbers of the axes at a place: an axis, a tensor, a module or a family."""
        shared = self.structure.shared
        tensors = {name for alias, name in shared.items() if alias == where or alias.startswith(where + ".")}
        found = [
            number
            for number, (axis, place) in enumerate(zip(self.evidence.facts.axes, self.evidence.places))
            if place == where or place.startswith((where + ".", where + "[")) or axis.tensor in tensors
        ]
        if found:
            return found
        members = {m for f in self.structure.families if f.name == where and f.kind != "block" for m in f.members}
        return [n for n, place in enumerate(self.evidence.places) if place in members][:1]

    def blocks(self, where: str) -> list[str]:
        out = [
            f"{b.path} can go as a whole: with its branch silent it hands its input on"
            for b in self.structure.bypasses
            if b.path == where
        ]
        return out + [
            f"{f.where} cannot go as a whole: {f.reason}"
            for f in self.structure.frozen
            if f.kind == "block" and f.where == where
        ]

    def unknown(self, where: str) -> str:
        tensor, _, _ = where.partition("[")
        if tensor in self.structure.shared:
            return f"{tensor!r} is another name of {self.structure.shared[tensor]!r}; ask for that one"
        places = [p for p in self.evidence.places if p.partition("[")[0] == tensor]
        if where == tensor and where in self.structure.shapes:
            return f"{where!r} has no axis longer than 1, so there is nothing to cut in it"
        if places and where != tensor:
            return f"{tensor!r} has no axis {where!r}; it has {', '.join(dict.fromkeys(places))}"
        tensors = list(self.structure.shapes)
        modules = {".".join(parts[:n]) for t in tensors if (parts := t.split(".")) for n in range(1, len(parts))}
        known = sorted({*modules, *tensors, *self.evidence.places, *(f.name for f in self.structure.families)})
        near = difflib.get_close_matches(where, known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else _forms(self.evidence.places)
        if where and any(o.path == where for o in self.evidence.operators):
            return f"{where!r} holds no weights, so nothing can be cut in it; {hint}"
        return f"the model has no module, tensor or axis {where!r}; {hint}"

    # -- answers -------------------------------------------------------------------------------------
    def tied(self, axes: Sequence[int]) -> list[Tied]:
        """One answer for each family that the axes touch, from the first axis that does."""
        out: dict[int, Tied] = {}
        for number in axes:
            axis = self.evidence.facts.axes[number]
            nodes = np.arange(axis.start, axis.start + axis.size)
            atoms = self.evidence.nodes[nodes]
            families = self.structure.family_of[atoms[atoms >= 0]]
            for index in dict.fromkeys(families.tolist()):
                if index not in out:
                    node = nodes[atoms >= 0][families == index][0]
                    out[index] = self._family(index, number, int(self.evidence.root[node]))
        return list(out.values())

    def _family(self, index: int, number: int, root: int) -> Tied:
        family, places = self.structure.families[index], self.evidence.places
        graph = self.graph(root)
        touched = [n for n in range(len(places)) if graph.on(n)]
        own = graph.on(number)
        ways = graph.ways(own)
        chains = []
        if len(own) > 1:
            first = graph.ways(own[:1])
            chains.append(in_words(graph, way_to(first, (Spot("of", -1, node) for node in own[1:]))))
        far = [n for n in touched if n != number and not any(Spot("of", -1, m) in ways for m in graph.on(n))]
        if far:  # values whose labels were lost on the way: what was united is known all the same
            graph = self.graph(root, jumps=True)
            ways = graph.ways(own)
        for other in touched:
            if other != number:
                chains.append(in_words(graph, way_to(ways, (Spot("of", -1, node) for node in graph.on(other)))))
        return Tied(places[number], family.name, family.kind, len(family.atoms), tuple(c for c in chains if c.steps))

    def fixed(self, axes: Sequence[int], where: str) -> list[Fixed]:
        """What cannot be cut; vectors only where their matrix does not say the same already."""
        e = self.evidence
        out: list[Fixed] = []
        told: set[int] = set()
        for number in sorted(axes, key=lambda n: "[" not in e.places[n]):
            axis = e.facts.axes[number]
            nodes = np.arange(axis.start, axis.start + axis.size)
            roots, counts = np.unique(e.root[nodes[e.nodes[nodes] < 0]], return_counts=True)
            by_reason: dict[str, list[tuple[int, int]]] = {}
            for root, count in zip(roots.tolist(), counts.tolist()):
                by_reason.setdefault(e.reason.get(root, UNUSED), []).append((root, count))
            for reason, held in by_reason.items():
                asked = e.places[number] == where
                if asked or not (reason.startswith(SILENT_REASONS) or {root for root, _ in held} <= told):
                    out.append(self._fixed(number, held[0][0], sum(count for _, count in held), reason))
            told.update(roots.tolist())
        return out

    def _fixed(self, number: int, root: int, size: int, reason: str) -> Fixed:
        e = self.evidence
        done = e.fixed_by(root)
        place = e.places[number]
        if done is None:
            return Fixed(place, size, reason)
        operator, ids = done
        ids = np.unique(ids[e.root[ids] == root])
        targets = [Spot("at", operator, node) for node in ids.tolist()]
        for jumps in (False, True):
            graph = self.graph(root, jumps)
            way = way_to(graph.ways(graph.on(number)), targets)
            if way:
                break
        chain = in_words(graph, way) if way else Chain(place, (step_to(DOWN, e.operators[operator]),))
        because = _because(graph, way) if reason == LOUD else ""
        return Fixed(place, size, reason, chain, because)


def _because(graph: Graph, way: Sequence[Spot]) -> str:
    """The first operator after which silenced weights do not give zeros."""
    for spot in way:
        if spot.kind == "out" and graph.loud(spot):
            step = step_to(DOWN, graph.evidence.operators[spot.operator])
            return f"{str(step).removeprefix(DOWN + ' ')} makes something else of zeros"
    return ""


def _forms(places: Sequence[str]) -> str:
    """The three ways to ask, shown with one of the model's own places."""
    example = next((p for p in places if "[" in p and "." in p), None)
    if example is None:
        return "name a module, a tensor or an axis"
    tensor = example.partition("[")[0]
    return f"name a module, a tensor or an axis, such as {tensor.rpartition('.')[0]!r}, {tensor!r} or {example!r}"
