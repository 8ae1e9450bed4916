"""A trial cut on fake tensors: does the user's code do the same at other sizes?

Rules cannot see whether a size in a reshape or a slice was read from a shape, from an attribute, or written
into the code, nor which axis of a reshape gives way. So a few atoms of each family are removed and the
forward is traced again, without arithmetic, with the surviving nodes in place: every operator must put out
exactly the nodes that survive of what it put out before, in the same order. That also catches what no shape
betrays: a channel shuffle that keeps the wrong indices. Families that fail are found by bisection (:mod:`.search`); for
a joint axis the other way to cut it is tried, and otherwise the family is fixed with that reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from .copying import copy_with, uncollected
from .labels import Array, Block, Label, make_data
from .ledger import Ledger
from .surgery import Surgery, plan, refit
from .tracing import Fakes, fake, fake_inputs, follow
from .types import Structure

FIXED_BY_CODE = "the model's code fixes this size: it does not do the same with fewer groups"


class Survivors(Ledger):
    """A ledger whose nodes are those of a first trace that survive a cut."""

    def __init__(self, first: Ledger, alive: Array) -> None:
        super().__init__(training=first.training)
        self._first, self._alive = first, alive
        self._axes = {(a.tensor, a.axis): a for a in first.axes}
        self.wrong = False

    def tensor(self, name: str, shape: Sequence[int]) -> Label:
        blocks = []
        for axis, size in enumerate(shape):
            held = self._axes.get((name, axis))
            if held is not None and size > 1:
                nodes = np.arange(held.start, held.start + held.size)
                ids = nodes[self._alive[nodes]]
                blocks.append(Block((axis,), make_data(ids, columns=[ids])))
        return Label(tuple(shape), tuple(blocks))

    def fresh(self, count: int) -> Array:
        """The loose nodes made at this point of the first trace, as far as they survive."""
        position = len(self.loose)
        before = self._first.loose[position] if position < len(self._first.loose) else np.empty(0, np.int64)
        ids = before[self._alive[before]]
        self.wrong |= len(ids) != count
        self.loose.append(ids if len(ids) == count else np.full(count, 0))
        return self.loose[-1]

    def differs(self) -> str | None:
        """The module in which an operator did not put out what survives of what it put out before."""
        if self.wrong:
            return ""
        numbers = zip(self._first.numbers, self.numbers)
        for (old_name, old), (new_name, new), (before, now) in zip(self._first.history, self.history, numbers):
            if old_name != new_name:
                break  # the code took another way (a copy where a view was); the oracle judges the rest
            if before != now or not all(self._same(a, b) for a, b in zip(old, new)):
                number = next(n for n, labels in self.results.items() if labels is new)
                return self.operators[number].path
        return None

    def _same(self, old: Label | None, new: Label | None) -> bool:
        before = {b.dims: b.ids for b in old.blocks} if old is not None else {}
        for block in new.blocks if new is not None else ():
            ids = before.get(block.dims)
            if ids is not None and not np.array_equal(ids[self._alive[ids]], block.ids.ravel()):
                return False
        return True


# How many atoms a trial takes: no two families that are near each other alike, nothing divisible by 2 or 3.
COPRIME = (1, 5, 7, 11, 13, 17, 19, 23)
# Cuts after the first, which tell families apart that had to lose the same number in it.
ROUNDS = 2
# What is left of a family in the last of them; a few more of others.
FEWEST = 3


@dataclass
class Trial:
    """What a trial cut is made of and held against.

    Attributes:
        nodes: the atom of each node of ``ledger``, −1 for none.
    """

    model: nn.Module
    ledger: Ledger
    nodes: Array
    structure: Structure
    _known: dict[Any, str | None] = field(default_factory=dict)

    def fails(self, families: list[int]) -> str | None:
        """Where the model does not do the same, with outputs of unchanged shape, when all families lose some.

        The path of the module whose code it is, as far as that can be told; None where it does the same.
        Families lose different numbers of atoms, so that code which takes one layer's width for another's
        fails; the numbers have no small divisor, so that code which needs a multiple fails. An axis of one
        index has no label to compare, so families that come down to one are only tried for shapes.
        """
        place = self.fails_in(0, families)
        if place is not None or self._narrow.isdisjoint(families):
            return place
        return self._cut(dict.fromkeys(families, 1), strict=False)

    def fails_in(self, number: int, families: list[int]) -> str | None:
        """As ``fails``, in one of the cuts, in which some families lose more than others."""
        cut = self._cuts[number]
        fewer = {family: cut[family] for family in families if family in cut}
        return self._cut(fewer, strict=True) if fewer else None

    def fails_ever(self, families: list[int]) -> str | None:
        """As ``fails``, in all cuts."""
        first = self.fails(families)
        places = (self.fails_in(number, families) for number in range(1, 1 + ROUNDS))
        return first if first is not None else next((place for place in places if place is not None), None)

    @cached_property
    def _cuts(self) -> list[dict[int, int]]:
        """How many atoms each family loses in each cut: no two that lose as many in all of them within a period.

        In the first cut all lose some; in the last, few are left of all but the smallest, because code may ask for
        more of one thing than of another. The period is 4 for the smallest families and grows with their size.
        """
        cuts: list[dict[int, int]] = [{} for _ in range(1 + ROUNDS)]
        families = [family for family in range(len(self.structure.families)) if family not in self._narrow]
        for position, family in enumerate(families):
            size = len(self.structure.families[family].atoms)
            choices = [c for c in COPRIME if c <= max(1, size - 2)]
            rest, digit = divmod(position, len(choices))
            cuts[0][family] = choices[digit]
            for cut in cuts[1:]:
                rest, digit = divmod(rest, len(choices) + 1)
                if cut is cuts[-1] and size - FEWEST > len(choices):
                    cut[family] = size - FEWEST - digit
                elif digit:
                    cut[family] = choices[digit - 1]
        return cuts

    @cached_property
    def _narrow(self) -> frozenset[int]:
        """Families that come down to one of an axis."""
        return frozenset(f for f in range(len(self.structure.families)) if self._is_narrow(f))

    def _is_narrow(self, family: int) -> bool:
        atoms = self.structure.families[family].atoms
        if len(atoms) > 2:
            return False
        if self.structure.families[family].kind == "head":
            return True  # wide axes, but the one over heads comes down to one
        touching = (ids for ids in self.structure.axes.values() if (ids == atoms[0]).any())
        return any(len(ids) - int((ids == atoms[0]).sum()) < 2 for ids in touching)

    def _cut(self, fewer_by_family: dict[int, int], strict: bool) -> str | None:
        key = strict, tuple(sorted(fewer_by_family.items()))
        if key not in self._known:
            self._known[key] = self._tried(fewer_by_family, strict)
        return self._known[key]

    def _tried(self, fewer_by_family: dict[int, int], strict: bool) -> str | None:
        keep = np.ones(self.structure.atoms, dtype=bool)
        for index, fewer in fewer_by_family.items():
            atoms = self.structure.families[index].atoms
            # Not the last ones: a cut in the middle tells orders apart.
            first = (len(atoms) - fewer) // 2
            keep[atoms[first : first + fewer]] = False
        for run in (self.ledger, *self.ledger.others):
            if run.faked and (place := self._run(run, keep, strict)) is not None:
                return place
        return None

    def _run(self, run: Ledger, keep: Array, strict: bool) -> str | None:
        survivors = Survivors(run, np.append(keep, True)[self.nodes])
        mode, copy = Fakes(), self.model
        try:
            with uncollected():
                copy = fake_cut(self.model, plan(self.model, self.structure, keep), mode)
                follow(copy, fake_inputs(mode, run.inputs), mode, survivors)
        except Exception as error:
            return _running(error, copy)
        if survivors.outputs != run.outputs:
            return ""
        return survivors.differs() if strict else None


def _running(error: Exception, model: nn.Module) -> str:
    """The innermost module in whose code an error arose."""
    names = {id(module): name for name, module in model.named_modules()}
    found, frames = "", error.__traceback__
    while frames is not None:
        found = names.get(id(frames.tb_frame.f_locals.get("self")), found)
        frames = frames.tb_next
    return found


def fake_cut(model: nn.Module, surgery: Surgery, mode: FakeTensorMode) -> nn.Module:
    """A copy of the cut network on fake tensors."""

    def part(name: str, tensor: Tensor) -> Tensor:
        kept = surgery.kept.get(name)
        if kept is None:
            return fake(mode, tensor)
        shape = [len(kept[a]) if a in kept else s for a, s in enumerate(tensor.shape)]
        return fake(mode, torch.empty(shape, dtype=tensor.dtype, device="meta"), tensor.device)

    copy = copy_with(model, part)
    refit(copy, surgery)
    return copy


def fake_shapes(model: nn.Module, surgery: Surgery, inputs: Any, ledger: Ledger) -> list[Any]:
    """Shapes of all outputs of the cut network, without computing them."""
    mode = Fakes()
    copy = fake_cut(model, surgery, mode)
    follow(copy, fake_inputs(mode, inputs), mode, ledger)
    return ledger.outputs
