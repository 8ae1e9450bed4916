"""The structure after a cut, computed instead of traced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .types import Array, Gate, Structure, Term


def restrict(structure: Structure, keep: Array) -> Structure:
    """Filter every index array by what is kept and renumber atoms in order."""
    alive = np.append(keep, True)
    number = np.append(np.where(keep, np.cumsum(keep) - 1, -1), -1)

    def part(ids: Array) -> Array:
        return number[ids[alive[ids]]]

    axes = {key: part(ids) for key, ids in structure.axes.items()}
    shapes = dict(structure.shapes)
    for (name, axis), ids in axes.items():
        shape = list(shapes[name])
        shape[axis] = len(ids)
        shapes[name] = tuple(shape)
    families = [replace(f, atoms=number[f.atoms[keep[f.atoms]]]) for f in structure.families]
    left = [f for f in families if len(f.atoms)]
    family_of = np.zeros(int(keep.sum()), dtype=np.int64)
    for index, family in enumerate(left):
        family_of[family.atoms] = index
    gates: dict[str, list[Gate]] = {}
    for name, held in structure.gates.items():
        for gate in held:
            # A gate's ids name only silencers; what is cut from its axis is what `axes` says.
            stays = alive[structure.axes[name, gate.axis]]
            gates.setdefault(name, []).append(Gate(gate.axis, number[gate.ids[stays]]))
    return Structure(
        atoms=int(keep.sum()),
        axes={k: ids for k, ids in axes.items() if (ids >= 0).any()},
        families=left,
        family_of=family_of,
        gates=gates,
        frozen=list(structure.frozen),
        terms={
            r: [Term(t.coefficient, tuple(part(ids) for ids in t.axes)) for t in terms]
            for r, terms in structure.terms.items()
        },
        shared=dict(structure.shared),
        attributes=[replace(a, ids=part(a.ids)) for a in structure.attributes],
        swaps=[replace(s, ids=part(s.ids)) for s in structure.swaps],
        shapes=shapes,
        inputs=structure.inputs,
    )
