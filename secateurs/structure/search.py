"""Which families a trial cut fails for: bisection, first among those whose weights lie near the place of a failure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from .trial import ROUNDS, Trial
from .types import Family


def failing(trial: Trial, seconds: float) -> list[int]:
    """Families whose loss of an atom the code does not survive; all untested ones once time is up."""
    everything = list(range(len(trial.structure.families)))
    # On fakes that do not run this model nothing can be tried; the oracle decides on real tensors.
    if not everything or not trial.ledger.faked or trial.fails_ever(everything) is None:
        return []
    search = _Search(trial, time.monotonic() + seconds)
    kinds: dict[Any, list[int]] = {}
    for index in everything:
        kinds.setdefault(_kind(trial.model, trial.structure.families[index]), []).append(index)
    bad: list[int] = []
    while True:
        # What is fixed for one cut's sake must stay in the others, too.
        found = search.without(trial.fails, [[f for f in kind if f not in bad] for kind in kinds.values()])
        for number in range(1, 1 + ROUNDS):
            good = [[index] for index in everything if index not in bad + found]
            found += search.without(partial(trial.fails_in, number), good)
        bad += found
        if not found:
            return bad


def _kind(model: nn.Module, family: Family) -> Any:
    """Families of one kind lie alike in modules that differ by number only: the same code is run on them."""
    kind: list[Any] = [family.kind]
    for member in family.members:
        path = member.rpartition(".")[0]
        modules = path, path.rpartition(".")[0]
        name = "".join(letter for letter in member if not letter.isdigit())
        kind.append((name, *(type(model.get_submodule(module)) for module in modules)))
    return tuple(kind)


@dataclass
class _Search:
    """The search for families without which the rest runs: first among those near the place of a failure."""

    trial: Trial
    deadline: float
    good: list[int] = field(default_factory=list)

    def without(self, fails: Callable[[list[int]], str | None], kinds: list[list[int]]) -> list[int]:
        self.good = []
        return self._bad(fails, [kind for kind in kinds if kind])

    def _bad(self, fails: Callable[[list[int]], str | None], kinds: list[list[int]]) -> list[int]:
        families = [family for kind in kinds for family in kind]
        if not families or time.monotonic() > self.deadline:
            return families
        place = fails(self.good + families)
        if place is None:
            self.good += families
            return []
        if len(families) == 1:
            return families
        # Where two families of a kind fail alone, so do the others: the code is the same, and there may be many.
        if len(kinds) == 1 and all(fails([*self.good, family]) is not None for family in (families[0], families[-1])):
            return families
        parts = kinds if len(kinds) > 1 else [[family] for family in families]
        near = [part for part in parts if any(self._near(family, place) for family in part)]
        far = [part for part in parts if part not in near]
        if not near or not far:
            half = len(parts) // 2
            far, near = parts[:half], parts[half:]
        return self._bad(fails, far) + self._bad(fails, near)

    def _near(self, family: int, place: str) -> bool:
        members = self.trial.structure.families[family].members
        return any(member.startswith((place + ".", place + "[")) for member in members)
