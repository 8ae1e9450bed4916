"""The structure after a cut, computed instead of traced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .naming import inside
from .surgery import removed
from .types import Array, Gate, Structure


def restrict(structure: Structure, keep: Array) -> Structure:
    """Filter every index array by what is kept and renumber atoms in order."""
    alive = np.append(keep, True)
    number = np.append(np.where(keep, np.cumsum(keep) - 1, -1), -1)
    gone = removed(structure, keep)

    def part(ids: Array) -> Array:
        return number[ids[alive[ids]]]

    def left_over(place: str) -> bool:
        return not inside(place, *gone)

    axes = {(name, axis): part(ids) for (name, axis), ids in structure.axes.items() if left_over(name)}
    shapes = {name: shape for name, shape in structure.shapes.items() if left_over(name)}
    for (name, axis), ids in axes.items():
        shape = list(shapes[name])
        shape[axis] = len(ids)
        shapes[name] = tuple(shape)
    families = [
        replace(f, atoms=number[f.atoms[keep[f.atoms]]], members=list(filter(left_over, f.members)))
        for f in structure.families
    ]
    left = [f for f in families if len(f.atoms)]
    family_of = np.zeros(int(keep.sum()), dtype=np.int64)
    for index, family in enumerate(left):
        family_of[family.atoms] = index
    gates: dict[str, list[Gate]] = {}
    for name in filter(left_over, structure.gates):
        for gate in structure.gates[name]:
            # A gate's ids name only silencers; what is cut from its axis is what `axes` says.
            cut = structure.axes.get((name, gate.axis))
            ids = number[gate.ids if cut is None else gate.ids[alive[cut]]]
            if (ids >= 0).any():
                gates.setdefault(name, []).append(Gate(gate.axis, ids))
    return Structure(
        atoms=int(keep.sum()),
        axes={k: ids for k, ids in axes.items() if (ids >= 0).any()},
        families=left,
        family_of=family_of,
        gates=gates,
        frozen=[f for f in structure.frozen if left_over(f.where)],
        terms={
            r: [t for t in (t.over(part) for t in terms) if all(map(len, t.axes))]
            for r, terms in structure.terms.items()
        },
        shared={alias: name for alias, name in structure.shared.items() if left_over(alias)},
        attributes=[replace(a, ids=part(a.ids)) for a in structure.attributes if left_over(a.path)],
        swaps=[replace(s, ids=part(s.ids)) for s in structure.swaps if left_over(s.path)],
        resizes=[replace(r, ids=part(r.ids)) for r in structure.resizes if left_over(r.path)],
        bypasses=[replace(b, atom=int(number[b.atom])) for b in structure.bypasses if keep[b.atom]],
        shapes=shapes,
        inputs=structure.inputs,
        runs=structure.runs,
    )
