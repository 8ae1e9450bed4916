"""From classes to a :class:`~.types.Structure`: atoms in order, families, gates, terms, attributes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from .attributes import find_attributes
from .copying import aliases, named_tensors
from .coupling import UNUSED, Classes
from .labels import Array
from .ledger import Axis, Ledger, Size
from .naming import place
from .types import Attribute, Cost, Family, Frozen, Gate, Structure, Swap, Term

SINGLE = "it is the only group of its layer, which removing it would empty"
SILENT_REASONS = ("runs along a convolution's window",)


@dataclass
class _Touch:
    """Which classes lie on which tensor axes: parallel arrays, unique."""

    root: Array
    axis: Array


def build(model: nn.Module, ledger: Ledger, classes: Classes, batch: int, sizes: list[Size]) -> tuple[Structure, Array]:
    """Assemble the structure, and the atom of each node (−1: none).

    ``batch`` divides multiply-accumulates down to one example; ``sizes`` are those that modules follow.
    """
    _fix_unused(classes, ledger)
    touch = _touches(ledger, classes)
    groups = _group(ledger, classes, touch)
    atom_of, families = _number(model, ledger, classes, touch, groups)
    axes = {(a.tensor, a.axis): atom_of[a.start : a.start + a.size] for a in ledger.axes}
    axes = {key: ids for key, ids in axes.items() if (ids >= 0).any()}
    shapes = {name: tuple(t.shape) for name, t in named_tensors(model)}
    atoms = int(atom_of.max(initial=-1)) + 1
    family_of = np.zeros(atoms, dtype=np.int64)
    for index, family in enumerate(families):
        family_of[family.atoms] = index
    structure = Structure(
        atoms=atoms,
        axes=axes,
        families=families,
        family_of=family_of,
        gates=_gates(ledger, classes, atom_of),
        frozen=_frozen(model, ledger, classes, atom_of),
        terms=_terms(model, ledger, atom_of, axes, batch),
        shared=aliases(model),
        attributes=find_attributes(model, sizes, atom_of),
        shapes=shapes,
    )
    _swap_attention(model, structure)
    return structure, atom_of


def _fix_unused(classes: Classes, ledger: Ledger) -> None:
    """Classes that no consumer sums over have nothing to gate."""
    nodes = np.arange(ledger.size)
    gated = np.zeros(ledger.size, dtype=bool)
    gated[classes.gates[0]] = True
    loose = nodes[(~gated & ~classes.fixed)[classes.root]]
    if loose.size:
        classes.fix(loose, UNUSED)


def _touches(ledger: Ledger, classes: Classes) -> _Touch:
    starts = [classes.root[a.start : a.start + a.size] for a in ledger.axes]
    if not starts:
        return _Touch(np.empty(0, np.int64), np.empty(0, np.int64))
    roots = np.concatenate(starts)
    axis = np.repeat(np.arange(len(ledger.axes)), [a.size for a in ledger.axes])
    alive = ~classes.fixed[roots]
    # One number for each pair: sorting those is many times faster than sorting pairs.
    return _Touch(*divmod(np.unique(roots[alive] * len(ledger.axes) + axis[alive]), len(ledger.axes)))


def _group(ledger: Ledger, classes: Classes, touch: _Touch) -> dict[int, list[int]]:
    """Classes that touch exactly the same axes, by a random-sum signature; single ones are judged."""
    random = np.random.default_rng(0).integers(1, 2**62, size=len(ledger.axes), dtype=np.int64)
    signature = np.zeros(ledger.size, dtype=np.int64)
    np.add.at(signature, touch.root, random[touch.axis])
    roots = np.unique(touch.root)
    groups: dict[int, list[int]] = {}
    for root in roots:
        groups.setdefault(int(signature[root]), []).append(int(root))
    singles = [g for g in groups.values() if len(g) == 1]
    anchored = _anchored(ledger, classes, groups)
    for group in singles:
        if group[0] not in anchored:
            classes.fix(np.array(group), SINGLE)
    return {k: g for k, g in groups.items() if not classes.fixed[g[0]]}


def _anchored(ledger: Ledger, classes: Classes, groups: dict[int, list[int]]) -> set[int]:
    """Single classes whose every axis also holds something that always stays."""
    size = {root: len(g) for g in groups.values() for root in g}
    lonely = {g[0] for g in groups.values() if len(g) == 1}
    safe = set(lonely)
    for axis in ledger.axes:
        roots = np.unique(classes.root[axis.start : axis.start + axis.size])
        here = [int(r) for r in roots if int(r) in lonely]
        if here and not any(classes.fixed[r] or size.get(int(r), 0) > 1 for r in roots):
            safe.difference_update(here)
    return safe


def _number(
    model: nn.Module, ledger: Ledger, classes: Classes, touch: _Touch, groups: dict[int, list[int]]
) -> tuple[Array, list[Family]]:
    """Atoms numbered family by family in the order in which the model computes them."""
    rank = {n: len(t.shape) for n, t in named_tensors(model)}
    moments, paths = _times(ledger, classes)
    time = moments.tolist()  # read number by number below
    ends = np.cumsum([ids.size for _, ids in ledger.producers])
    by_root: dict[int, list[int]] = {}
    for root, axis in zip(touch.root.tolist(), touch.axis.tolist()):
        by_root.setdefault(root, []).append(axis)
    ordered = sorted(groups.values(), key=lambda g: min(time[r] for r in g))
    atom_of = np.full(ledger.size + 1, -1, dtype=np.int64)
    families: list[Family] = []
    names: dict[str, int] = {}
    count = 0
    for group in ordered:
        axes = [ledger.axes[a] for a in by_root[group[0]]]
        group = sorted(group, key=lambda r: time[r])
        atoms = np.arange(count, count + len(group))
        atom_of[group] = atoms
        count += len(group)
        head = bool(classes.head[group[0]])
        producer = int(np.searchsorted(ends, time[group[0]], side="right"))
        name = paths[producer] if producer < len(paths) else axes[0].tensor
        name = _holder(ledger, producer, name)
        name = (_attention_of(name, axes) if head else name) or "model"
        names[name] = names.get(name, 0) + 1
        if names[name] > 1:
            name = f"{name}#{names[name]}"
        members = [place(model, a.tensor, a.axis, rank[a.tensor]) for a in axes]
        families.append(Family(name, "head" if head else "channel", atoms, members, int(len(group) > 1)))
    return atom_of[np.append(classes.root, -1)][: ledger.size], families


def _times(ledger: Ledger, classes: Classes) -> tuple[Array, list[str]]:
    """For each class, when its first position was produced in the forward pass, and by which module."""
    time = np.full(ledger.size, np.iinfo(np.int64).max)
    clock = 0
    paths: list[str] = []
    for path, ids in ledger.producers:
        flat = ids.ravel()
        np.minimum.at(time, classes.root[flat], clock + np.arange(flat.size))
        clock += flat.size
        paths.append(path)
    late = time == np.iinfo(np.int64).max
    time[late] = clock + np.arange(ledger.size)[late]
    return time, paths


def _holder(ledger: Ledger, producer: int, path: str) -> str:
    """The layer whose weight produces: the running module, or the weight's own when code borrows it."""
    if producer >= len(ledger.producers):
        return path
    first = int(ledger.producers[producer][1].ravel()[0])
    tensor = next((a.tensor for a in ledger.axes if a.start <= first < a.start + a.size), path)
    own, _, leaf = tensor.rpartition(".")
    if path and (own == path or own.startswith(path + ".")):
        return path
    return own if leaf == "weight" else tensor


def _attention_of(path: str, axes: list[Axis]) -> str:
    """The module that holds all of a head's parameters: their common parent."""
    parents = [a.tensor.split(".")[:-1] for a in axes]
    common = []
    for parts in zip(*parents):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common) or path


def _gates(ledger: Ledger, classes: Classes, atom_of: Array) -> dict[str, list[Gate]]:
    """Silencer nodes grouped into slices of parameters."""
    roots, nodes = classes.gates
    chosen = np.full(ledger.size, -1, dtype=np.int64)
    alive = atom_of[roots] >= 0
    chosen[nodes[alive]] = atom_of[roots[alive]]
    gates: dict[str, list[Gate]] = {}
    for axis in ledger.axes:
        ids = chosen[axis.start : axis.start + axis.size]
        if (ids >= 0).any():
            gates.setdefault(axis.tensor, []).append(Gate(axis.axis, ids.copy()))
    return gates


def _frozen(model: nn.Module, ledger: Ledger, classes: Classes, atom_of: Array) -> list[Frozen]:
    """Fixed axes of parameters with reasons; vectors that follow a listed matrix are left out."""
    parameters = {n: len(p.shape) for n, p in model.named_parameters()}
    out: list[Frozen] = []
    listed: set[int] = set()
    ranked = sorted(ledger.axes, key=lambda a: parameters.get(a.tensor, 0) == 1)
    for axis in ranked:
        if axis.tensor not in parameters:
            continue
        nodes = np.arange(axis.start, axis.start + axis.size)
        roots = classes.root[nodes][atom_of[nodes] < 0]
        unique, counts = np.unique(roots, return_counts=True)
        reasons: dict[str, int] = {}
        for root, number in zip(unique.tolist(), counts.tolist()):
            if parameters[axis.tensor] > 1 or root not in listed:
                reason = classes.reason.get(root, UNUSED)
                reasons[reason] = reasons.get(reason, 0) + number
        listed.update(unique.tolist())
        where = place(model, axis.tensor, axis.axis, parameters[axis.tensor])
        for reason, size in reasons.items():
            if not (reason.startswith(SILENT_REASONS) or where.endswith("[kernel]")):
                out.append(Frozen(where, size, reason))
    return out


def _terms(
    model: nn.Module, ledger: Ledger, atom_of: Array, axes: dict[tuple[str, int], Array], batch: int
) -> dict[str, list[Cost]]:
    params: list[Cost] = []
    size: list[Cost] = []
    parameters = {n for n, _ in model.named_parameters()}
    for name, tensor in named_tensors(model):
        coefficient = 1.0
        arrays = []
        for axis, length in enumerate(tensor.shape):
            ids = axes.get((name, axis))
            if ids is None:
                coefficient *= length
            else:
                arrays.append(ids)
        if name in parameters:
            params.append(Term(coefficient, tuple(arrays)))
        size.append(Term(coefficient * tensor.element_size(), tuple(arrays)))
    macs: list[Cost] = []
    for product in ledger.products:
        coefficient, arrays = product.coefficient / batch, []
        for nodes in product.axes:
            ids = atom_of[nodes]
            if (ids >= 0).any():
                arrays.append(ids)
            else:
                coefficient *= len(nodes)
        macs.append(Term(coefficient, tuple(arrays)))
    return {"params": params, "macs": macs, "bytes": size}


def _swap_attention(model: nn.Module, structure: Structure) -> None:
    """nn.MultiheadAttention cannot lose heads; note where its stand-in takes over."""
    for path, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            ids = structure.axes.get((f"{path}.out_proj.weight" if path else "out_proj.weight", 1))
            if ids is not None:
                heads = ids.reshape(module.num_heads, -1)[:, 0]
                structure.attributes.append(Attribute(path, "num_heads", None, heads))
                structure.swaps.append(Swap(path, "PrunedMultiheadAttention", ids))
