"""The ladder: from free to costly, until validation has recovered.

Every rung repairs the cut network anew, as it came from the cut, with one recovery or several in a row; the best of all
is kept. Only rungs that train go on from the best so far. What each rung gave is recorded, whether it was kept or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn

from ..zoo.splits import Batch
from .base import Recovery, Removal

Judge: TypeAlias = Callable[[nn.Module], float]
"""From a network to how good it is, higher = better: its accuracy on validation data."""


@dataclass(frozen=True)
class Rung:
    """One step of the ladder.

    Attributes:
        recoveries: one after the other.
        goes_on: from the best network so far, as what trains does; else from the network as it came from the cut.
    """

    recoveries: tuple[Recovery, ...]
    goes_on: bool = False

    @property
    def name(self) -> str:
        return "+".join(r.name for r in self.recoveries) or "none"

    def __call__(self, model: nn.Module, removal: Removal, data: Iterable[Batch]) -> nn.Module:
        for recovery in self.recoveries:
            model = recovery(model, removal, data)
        return model


@dataclass(frozen=True)
class Tried:
    """What a rung gave.

    Attributes:
        name: of its recoveries. value: what the judge said. seconds: wall clock, judging left out.
        kept: whether it was the best so far.
    """

    name: str
    value: float
    seconds: float
    kept: bool


def climb(
    model: nn.Module,
    removal: Removal,
    data: Iterable[Batch],
    judge: Judge,
    target: float,
    rungs: Sequence[Rung],
) -> tuple[nn.Module, list[Tried]]:
    """The best network, and what every rung gave that was tried.

    Args:
        model: as it is after the cut; it is the first rung, "none".
        data: for the recoveries; can be read more than once.
        judge: higher is better.
        target: the first rung that is as good ends the climb.
        rungs: from free to costly.
    """
    best, value = model, judge(model)
    tried = [Tried("none", value, 0.0, True)]
    for rung in rungs:
        if value >= target:
            break
        start = time.perf_counter()
        found = rung(best if rung.goes_on else model, removal, data)
        seconds = time.perf_counter() - start
        said = judge(found)
        better = said > value
        tried.append(Tried(rung.name, said, seconds, better))
        if better:
            best, value = found, said
    return best, tried
