"""Whole residual blocks as atoms of a structure.

Participation s of a block scales what silences its branches, so the network computes x + s·f(x); at 0 the block
is the identity and its module can go. What the dataflow says is tried before it is believed: with all blocks
silent, each is given random input and must return it bit for bit; and with all of them gone the code must
run, with outputs of the same shapes and as many multiply-accumulates as foretold.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .bypass import given
from .copying import named_tensors
from .flow import Range
from .labels import Array
from .ledger import Ledger
from .naming import inside
from .oracle import cut_copy, masked_copy, run
from .residual import Miss, Residual, residuals
from .surgery import plan
from .trial import fake_shapes
from .types import Bypass, Cost, Family, Frozen, Gate, Structure

KIND = "block"
CHANGES = "with its branches silent it does not return what it is given"
PARTLY = "parts of it run only in training, or on other inputs than the first"
NEEDED = "the model's code does not run the same without it"


def with_blocks(model: nn.Module, ledger: Ledger, structure: Structure, inputs: Any, seconds: float) -> Structure:
    """The structure with one more atom for each block of the model.

    Args:
        ledger: of a trace with its flow.
        seconds: how long the search for blocks that the code needs may take.
    """
    found, misses = residuals(model, ledger)
    partly = [r for r in found if any(inside(name, r.path) for name in ledger.elsewhere)]
    misses += [Miss(r.path, r.kind, PARTLY, True) for r in partly]
    found = [r for r in found if r not in partly]
    returned, reason = _returned(model, ledger, structure, found, inputs)
    misses += [Miss(r.path, r.kind, reason, True) for r in found if r.path not in returned]
    found = [r for r in found if r.path in returned]
    needed = {r.path for r in _needed(model, ledger, structure, found, inputs, seconds)}
    misses += [Miss(r.path, r.kind, NEEDED, True) for r in found if r.path in needed]
    found = [r for r in found if r.path not in needed]
    return _attach(model, ledger, structure, found, misses)


# -- atoms ---------------------------------------------------------------------------------------------------


def _attach(
    model: nn.Module, ledger: Ledger, structure: Structure, found: list[Residual], misses: list[Miss] | None = None
) -> Structure:
    """One atom for each block, after those that are there."""
    atoms = {r.path: structure.atoms + n for n, r in enumerate(found)}
    terms = _charged(model, ledger, structure, found, atoms)
    families = _families(structure, found, atoms, terms)
    family_of = np.concatenate([structure.family_of, np.zeros(len(found), dtype=np.int64)])
    for index, family in enumerate(families):
        family_of[family.atoms] = index
    frozen = [Frozen(miss.path, 1, miss.reason, KIND) for miss in misses or ()]
    return replace(
        structure,
        atoms=structure.atoms + len(found),
        families=families,
        family_of=family_of,
        gates=_gates(ledger, structure, found, atoms),
        frozen=structure.frozen + frozen,
        terms=terms,
        bypasses=[Bypass(r.path, atoms[r.path], r.wiring) for r in found],
    )


def _charged(
    model: nn.Module, ledger: Ledger, structure: Structure, found: list[Residual], atoms: dict[str, int]
) -> dict[str, list[Cost]]:
    """Whatever lies in a block counts as often as the block does: once or not at all."""
    named = [name for name, _ in named_tensors(model)]
    parameters = {name for name, _ in model.named_parameters()}
    inside = {name: atoms[r.path] for r in found for name in named if name.startswith(r.path + ".")}
    made = {number: atoms[r.path] for r in found for number in range(*r.products.indices(len(ledger.products)))}
    owners = {
        "params": [inside.get(name) for name in named if name in parameters],
        "bytes": [inside.get(name) for name in named],
        "macs": [made.get(number) for number in range(len(ledger.products))],
    }
    return {
        resource: [
            term if owner is None else term.with_block(owner)
            for term, owner in zip(terms, owners[resource], strict=True)
        ]
        for resource, terms in structure.terms.items()
    }


def _families(
    structure: Structure, found: list[Residual], atoms: dict[str, int], terms: dict[str, list[Cost]]
) -> list[Family]:
    """Blocks of one container that cost the same."""
    costs = _costs(list(atoms.values()), terms)
    alike: dict[tuple[Any, ...], list[Residual]] = {}
    for r in found:
        alike.setdefault((r.path.rpartition(".")[0], *costs[atoms[r.path]]), []).append(r)
    taken = {family.name for family in structure.families}
    families = list(structure.families)
    for (container, *_), blocks in alike.items():
        name = base = container or "model"
        number = 1
        while name in taken:
            number += 1
            name = f"{base}#{number}"
        taken.add(name)
        ids = np.array([atoms[r.path] for r in blocks])
        families.append(Family(name, KIND, ids, [r.path for r in blocks], minimum=0))
    return families


def _costs(atoms: list[int], terms: dict[str, list[Cost]]) -> dict[int, list[float]]:
    """How much of every resource each block uses."""
    costs = {atom: [0.0] * len(terms) for atom in atoms}
    for index, held in enumerate(terms.values()):
        for term in held:
            owner = next((int(ids[0]) for ids in term.axes if ids.size == 1 and int(ids[0]) in costs), None)
            if owner is not None:
                costs[owner][index] += term.amount([len(ids) for ids in term.axes])
    return costs


def _gates(ledger: Ledger, structure: Structure, found: list[Residual], atoms: dict[str, int]) -> dict[str, list[Gate]]:
    chosen = np.full(ledger.size, -1, dtype=np.int64)
    for r in found:
        chosen[r.silencers] = atoms[r.path]
    gates = {name: list(held) for name, held in structure.gates.items()}
    for axis in ledger.axes:
        ids = chosen[axis.start : axis.start + axis.size]
        if (ids >= 0).any():
            gates.setdefault(axis.tensor, []).append(Gate(axis.axis, ids.copy()))
    return gates


# -- trials --------------------------------------------------------------------------------------------------


def _gone(structure: Structure) -> Array:
    """A keep mask without any block."""
    keep = np.ones(structure.atoms, dtype=bool)
    keep[[b.atom for b in structure.bypasses]] = False
    return keep


def _returned(
    model: nn.Module, ledger: Ledger, structure: Structure, found: list[Residual], inputs: Any
) -> tuple[set[str], str]:
    """The blocks that, silenced, return random input exactly, and what is to be said of the others."""
    trial = _attach(model, ledger, structure, found)
    silent = masked_copy(model, trial, _gone(trial))
    returned: set[str] = set()
    for r in found:
        before, after = _probe(r, returned)
        module = silent.get_submodule(r.path)
        module.register_forward_pre_hook(before, with_kwargs=True)
        module.register_forward_hook(after)
    try:
        if found:
            run(silent, inputs)
    except Exception as error:
        return returned, f"with all branches silent the model does not run ({type(error).__name__}: {error})"
    return returned, CHANGES


def _probe(r: Residual, returned: set[str]) -> tuple[Callable[..., Any], Callable[..., None]]:
    """Hooks that give a module random input and compare what it returns."""
    source = r.wiring.items[0]
    assert source is not None
    expected: list[Tensor | None] = []

    def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
        args, kwargs = list(args), dict(kwargs)
        holder: Any = args if 0 <= source[0] < len(args) else kwargs
        holder[source[0] if holder is args else source[1]] = _between(given(source, tuple(args), kwargs), r.bounds)
        expected[:] = [None if item is None else given(item, tuple(args), kwargs).clone() for item in r.wiring.items]
        return tuple(args), kwargs

    def after(_: nn.Module, __: Any, out: Any) -> None:
        items = [out] if isinstance(out, Tensor) else list(out)
        # What nobody reads may be anything.
        if all(b is None or _equal(a, b) for a, b in zip(items, expected, strict=True)):
            returned.add(r.path)

    return before, after


def _between(like: Tensor, bounds: Range) -> Tensor:
    """Random numbers between bounds."""
    low, high = bounds
    if low > -np.inf and high < np.inf:
        return low + torch.rand_like(like) * (high - low)
    noise = torch.randn_like(like)
    return noise.abs() + low if low > -np.inf else high - noise.abs() if high < np.inf else noise


def _equal(a: Any, b: Tensor) -> bool:
    return isinstance(a, Tensor) and a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)


def _needed(
    model: nn.Module, ledger: Ledger, structure: Structure, found: list[Residual], inputs: Any, seconds: float
) -> list[Residual]:
    """Blocks without which the code does not do the same; all untested ones once time is up."""
    deadline = time.monotonic() + seconds

    def runs(some: list[Residual]) -> bool:
        trial = _attach(model, ledger, structure, some)
        keep = _gone(trial)
        surgery, without = plan(model, trial, keep), Ledger()
        try:
            if not ledger.faked:  # fakes do not run this model
                out = run(cut_copy(model, surgery), inputs)
                return [(tuple(t.shape), t.dtype) for t in out] == ledger.outputs
            same = fake_shapes(model, surgery, inputs, without) == ledger.outputs
        except Exception:
            return False
        share = trial.amount("macs", keep) / max(trial.amount("macs"), 1.0)
        return same and bool(np.isclose(_macs(without), share * _macs(ledger), rtol=1e-9))

    def search(some: list[Residual]) -> list[Residual]:
        if not some or runs(some):
            return []
        if len(some) == 1 or time.monotonic() > deadline:
            return some
        half = len(some) // 2
        return search(some[:half]) + search(some[half:])

    return search(found)


def _macs(ledger: Ledger) -> float:
    return sum(p.coefficient * float(np.prod([len(ids) for ids in p.axes])) for p in ledger.products)
