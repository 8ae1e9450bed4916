"""Read a model's structure: one run, the rules' facts, their resolution, and a trial of the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from .attributes import holders
from .blocks import with_blocks
from .build import build
from .copying import named_tensors, tensors_in
from .coupling import Classes
from .evidence import Evidence
from .labels import Array
from .ledger import Ledger
from .naming import place
from .paths import explore
from .resizing import resizes
from .search import failing
from .tracing import read
from .trial import FIXED_BY_CODE, Trial
from .types import Run, Structure

# What a module's code is given as sizes of its calls; where these are scaled, the attributes stay.
RESIZED = ("heads", "width", "piece", "flat")


def trace(
    model: nn.Module,
    example_inputs: Any,
    *,
    also: list[Any] | None = None,
    trial: bool = True,
    seconds: float = 20.0,
    blocks: bool = False,
) -> Structure:
    """What can be removed from a model, what goes with it, what silences it and what it costs.

    Args:
        model: left untouched: weights, mode, hooks, random state.
        example_inputs: a tensor, a tuple of arguments, or a dict of keyword arguments; the first axis of
            the first tensor is the batch.
        also: a list of further inputs, for code that these do not reach: branches on data, optional arguments.
        trial: trace the cut network, too, on fake tensors, and fix what the code cannot lose.
        seconds: how long the search for such places, and for values that reach all branches, may take each.
        blocks: also find the residual blocks that can go as a whole. This runs the model once.

    Raises:
        StructureError: the model cannot be copied or does not run on the inputs. An operator that is not
            known is no error: what it touches is fixed and listed in ``frozen``.
    """
    ledger = read(model, example_inputs, flow=blocks)
    fixed = explore(model, ledger, example_inputs, also, seconds)
    resolver = _Resolver(model, ledger, example_inputs, seconds, fixed)
    structure = resolver.tried() if trial else resolver.resolve()[0]
    return with_blocks(model, resolver.ledger, structure, example_inputs, seconds) if blocks else structure


@dataclass
class _Resolver:
    """One trace's facts, resolved under growing knowledge of what the code does not allow."""

    model: nn.Module
    ledger: Ledger
    inputs: Any
    seconds: float
    banned: list[tuple[Array, str]] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)
    resized: set[str] = field(default_factory=set)
    _doubtful: set[str] = field(default_factory=set)
    guesses: set[int] = field(init=False)

    def __post_init__(self) -> None:
        sizes = self.ledger.sizes
        self._guessed = {n: s.ids for n, s in enumerate(sizes) if s.guess and holders(self.model, s)}
        self._splits = {n: split.ids for n, split in enumerate(self.ledger.splits)}
        self._sized: dict[str, list[Array]] = {}
        for fact in self.ledger.asked:
            self._sized.setdefault(fact.path, []).append(fact.ids)
        # Without a trial none can be found wanting; a width that is noted beside its layer is mostly used.
        self.guesses = set() if self.ledger.faked else set(self._guessed)
        rank = {name: tensor.dim() for name, tensor in named_tensors(self.model)}
        self._places = [place(self.model, a.tensor, a.axis, rank[a.tensor]) for a in self.ledger.axes]
        self._parameters = frozenset(name for name, _ in self.model.named_parameters())

    def resolve(self) -> tuple[Structure, Array]:
        tensors = tensors_in(self.inputs)
        batch = tensors[0].shape[0] if tensors and tensors[0].dim() else 1
        sizes = [s for n, s in enumerate(self.ledger.sizes) if not s.guess or n in self.guesses]
        sizes = [s for s in sizes if s.path not in self.resized or s.role not in RESIZED]
        # One number for several layers: they are cut alike.
        first: dict[tuple[str, int], Array] = {}
        alike = [(first.setdefault((s.path, s.value), s.ids), s.ids) for s in sizes if s.guess]
        written = [(ids, reason) for path, ids, reason in self.ledger.written if path not in self.resized]
        classes = Classes(self.ledger, [*self.banned, *written], self.rows, alike)
        structure, nodes = build(self.model, self.ledger, classes, max(batch, 1), sizes)
        structure.inputs = self.inputs
        structure.runs = [Run(o.inputs, o.training, o.faked, [s for s, _ in o.outputs]) for o in self.ledger.others]
        structure.resizes = resizes(self.ledger.asked, nodes, self.resized)
        structure.evidence = Evidence.of(self._places, self._parameters, self.ledger, classes, nodes)
        return structure, nodes

    def tried(self) -> Structure:
        """Fix what fails the trial, once whatever could follow the cut does.

        First attributes of modules, then sizes in the code, then rows where columns were cut.
        """
        trial, place = self._written()
        if place is not None and self._guessed:
            trial, place = self._chosen(trial, place, self.guesses, self._guessed)
        trial, place = self._chosen(*self._sized_where_failing(trial, place), self.rows, self._splits)
        structure = self._without(trial, failing(trial, self.seconds))
        if self.resized & self._doubtful:
            # Once what fails for other reasons stays, sizes may be right as they are.
            needed = self.resized
            self.resized = needed - self._doubtful
            trial, place = self._trial()
            same = [f.members for f in trial.structure.families] == [f.members for f in structure.families]
            if same and place is None and not failing(trial, self.seconds):
                return trial.structure
            self.resized = needed
        return structure

    def _without(self, trial: Trial, bad: list[int]) -> Structure:
        """The structure in which families that fail stay as they are."""
        while bad:
            families = trial.structure.families
            left = [family.members for index, family in enumerate(families) if index not in bad]
            atoms = np.concatenate([families[index].atoms for index in bad])
            self.banned.append((np.flatnonzero(np.isin(trial.nodes, atoms)), FIXED_BY_CODE))
            structure, nodes = self.resolve()
            if [family.members for family in structure.families] == left:
                return structure  # these have been tried together
            trial = Trial(self.model, self.ledger, nodes, structure)
            bad = failing(trial, self.seconds)
        return trial.structure

    def _written(self) -> tuple[Trial, str | None]:
        """The trial in which pieces and slices are scaled wherever that makes an axis prunable, as far as it works."""
        if self.ledger.faked and self.ledger.written:
            self.resized = {path for path, _, _ in self.ledger.written}
            _, nodes = self.resolve()
            self.resized = {path for path, ids, _ in self.ledger.written if (nodes[ids] >= 0).any()}
        trial, place = self._trial()
        while place is not None and (found := self._of_one_class(trial, place) & self.resized):
            self.resized -= found
            trial, place = self._trial()
        return trial, place

    def _trial(self) -> tuple[Trial, str | None]:
        """A trial of what is known, and where it fails at first."""
        structure, nodes = self.resolve()
        trial = Trial(self.model, self.ledger, nodes, structure)
        families = list(range(len(structure.families)))
        return trial, trial.fails(families) if families and self.ledger.faked else None

    def _chosen(
        self, trial: Trial, place: str | None, choice: set[int], places: dict[int, Array]
    ) -> tuple[Trial, str | None]:
        """The trial in which the families that fail follow one of these places, if that helps."""
        bad = failing(trial, self.seconds) if place is not None else []
        found = self._holding(places, trial, bad)
        if found:
            choice |= found
            resized = set(self.resized)
            other, further = self._sized_where_failing(*self._trial())
            if len(failing(other, self.seconds)) < len(bad):
                return other, further
            choice -= found
            self.resized = resized
        return trial, place

    def _sized_where_failing(self, trial: Trial, place: str | None) -> tuple[Trial, str | None]:
        """The trial in which code is given the sizes that it asks for, in all modules of a class in which one fails."""
        while place is not None:
            found = self._of_one_class(trial, place) - self.resized
            if not found:
                break
            self.resized |= found
            other, further = self._trial()
            trial, place = other, further
            if place is not None and self._of_one_class(trial, place) & found:
                self._doubtful |= found
                break  # not, or not only, for want of sizes
        return trial, place

    def _of_one_class(self, trial: Trial, path: str) -> set[str]:
        """The modules whose code gives sizes of what can be cut, of the class whose code runs at ``path``."""
        active = {p for p, held in self._sized.items() if any((trial.nodes[ids] >= 0).any() for ids in held)}
        while path and path not in active:
            path = path.rpartition(".")[0]
        kind = type(self.model.get_submodule(path)) if path in active else None
        return {p for p in active if type(self.model.get_submodule(p)) is kind}

    def _holding(self, places: dict[int, Array], trial: Trial, families: list[int]) -> set[int]:
        """Which places hold nodes of these families."""
        atoms = [trial.structure.families[index].atoms for index in families]
        marked = np.isin(trial.nodes, np.concatenate(atoms)) if atoms else np.zeros(len(trial.nodes), dtype=bool)
        # Activations carry the producers' own nodes, so a split of a family's axis holds marked nodes.
        return {n for n, ids in places.items() if marked[ids].any()}
