"""A trial cut on fake tensors: does the user's code do the same at other sizes?

Rules cannot see whether a size in a reshape or a slice was read from a shape, from an attribute, or written
into the code, nor which axis of a reshape gives way. So a few atoms of each family are removed and the
forward is traced again, without arithmetic, with the surviving nodes in place: every operator must put out
exactly the nodes that survive of what it put out before, in the same order. That also catches what no shape
betrays: a channel shuffle that keeps the wrong indices. Families that fail are found by bisection; for a
joint axis the other way to cut it is tried, and otherwise the family is fixed with that reason.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from .copying import copy_with
from .labels import Array, Block, Label, make_data
from .ledger import Ledger
from .surgery import Surgery, plan, refit
from .tracing import fake, fake_inputs, follow
from .types import Structure

FIXED_BY_CODE = "the model's code fixes this size: it does not do the same with one group fewer"


class Survivors(Ledger):
    """A ledger whose nodes are those of a first trace that survive a cut."""

    def __init__(self, first: Ledger, alive: Array) -> None:
        super().__init__()
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

    def agrees(self) -> bool:
        """Did every operator put out what survives of what it put out before?"""
        if self.wrong:
            return False
        for (old_name, old), (new_name, new) in zip(self._first.history, self.history):
            if old_name != new_name:
                break  # the code took another way (a copy where a view was); the oracle judges the rest
            if not all(self._same(a, b) for a, b in zip(old, new)):
                return False
        return True

    def _same(self, old: Label | None, new: Label | None) -> bool:
        before = {b.dims: b.ids for b in old.blocks} if old is not None else {}
        for block in new.blocks if new is not None else ():
            ids = before.get(block.dims)
            if ids is not None and not np.array_equal(ids[self._alive[ids]], block.ids.ravel()):
                return False
        return True


# How many atoms a trial takes: no two families that are near each other alike, nothing divisible by 2 or 3.
COPRIME = (1, 5, 7, 11, 13, 17, 19, 23)
# Further cuts at most; 2³ families that lose the same number are told apart completely.
ROUNDS = 3


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
    inputs: Any

    def runs(self, families: list[int]) -> bool:
        """Does the model do the same, with outputs of unchanged shape, at other sizes?

        Families lose different numbers of atoms, so that code which takes one layer's width for
        another's fails; the numbers have no small divisor, so that code which needs a multiple fails.
        Families that had to lose the same number are then told apart by further cuts, in which only some
        of them lose one. An axis of one index has no label to compare, so families that
        come down to one are only tried for shapes.
        """
        wide = [f for f in families if not self._narrow(f)]
        rank, fewer = self._numbers(wide)
        if wide and not self._cut(fewer, strict=True):
            return False
        for bit in range(min(ROUNDS, max(rank.values(), default=0).bit_length())):
            some = {f: 1 for f in wide if rank[f] >> bit & 1}
            if some and not self._cut(some, strict=True):
                return False
        return len(wide) == len(families) or self._cut(dict.fromkeys(families, 1), strict=False)

    def _numbers(self, families: list[int]) -> tuple[dict[int, int], dict[int, int]]:
        """How many atoms each family loses, and its rank among those that lose as many."""
        alike: dict[int, int] = {}
        rank, fewer = {}, {}
        for position, family in enumerate(families):
            size = len(self.structure.families[family].atoms)
            choices = [c for c in COPRIME if c <= max(1, size - 2)]
            number = choices[position % len(choices)]
            fewer[family], rank[family] = number, alike.get(number, 0)
            alike[number] = rank[family] + 1
        return rank, fewer

    def _narrow(self, family: int) -> bool:
        atoms = self.structure.families[family].atoms
        if len(atoms) > 2:
            return False
        touching = (ids for ids in self.structure.axes.values() if (ids == atoms[0]).any())
        return any(len(ids) - int((ids == atoms[0]).sum()) < 2 for ids in touching)

    def _cut(self, fewer_by_family: dict[int, int], strict: bool) -> bool:
        keep = np.ones(self.structure.atoms, dtype=bool)
        for index, fewer in fewer_by_family.items():
            atoms = self.structure.families[index].atoms
            # Not the last ones: a cut in the middle tells orders apart.
            first = (len(atoms) - fewer) // 2
            keep[atoms[first : first + fewer]] = False
        survivors = Survivors(self.ledger, np.append(keep, True)[self.nodes])
        try:
            surgery = plan(self.model, self.structure, keep)
            same = fake_shapes(self.model, surgery, self.inputs, survivors) == self.ledger.outputs
        except Exception:
            return False
        return same and (survivors.agrees() or not strict)


def fake_shapes(model: nn.Module, surgery: Surgery, inputs: Any, ledger: Ledger) -> list[Any]:
    """Shapes of all outputs of the cut network, without computing them."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def part(name: str, tensor: Tensor) -> Tensor:
        kept = surgery.kept.get(name)
        if kept is None:
            return fake(mode, tensor)
        shape = [len(kept[a]) if a in kept else s for a, s in enumerate(tensor.shape)]
        with mode:
            return torch.empty(shape, dtype=tensor.dtype, device=tensor.device)

    copy = copy_with(model, part)
    refit(copy, surgery)
    with _quiet():
        follow(copy, fake_inputs(mode, inputs), mode, ledger)
    return ledger.outputs


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A failing trial is an answer, not an error to log."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


def failing(
    model: nn.Module, ledger: Ledger, nodes: Array, structure: Structure, inputs: Any, seconds: float
) -> list[int]:
    """Families whose loss of an atom the code does not survive; all untested ones once time is up.

    Args:
        nodes: the atom of each node of ``ledger``, −1 for none.
    """
    if not structure.families:
        return []
    if not ledger.faked:
        return []  # fakes do not run this model; the oracle decides on real tensors
    trial = Trial(model, ledger, nodes, structure, inputs)
    deadline = time.monotonic() + seconds

    def search(families: list[int]) -> list[int]:
        if not families or trial.runs(families):
            return []
        if len(families) == 1 or time.monotonic() > deadline:
            return families
        half = len(families) // 2
        return search(families[:half]) + search(families[half:])

    return search(list(range(len(structure.families))))
