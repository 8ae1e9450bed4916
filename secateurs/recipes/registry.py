"""Every method by name: one row says what it is, where it comes from, what it costs and what it needs.

Scores and rules of participation describe themselves, so whatever stands in their registries is a method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..criteria import SCORES, Score
from ..dynamics import DYNAMICS, Budgeted
from ..errors import unknown
from .flagship import EquilibriumOptions, EquilibriumRun
from .oneshot import OneShotOptions, OneShotRun
from .options import TrainOptions
from .playing import DynamicsRun, options_of
from .pruning import Pruning


@dataclass(frozen=True)
class Method:
    """A registry row.

    Attributes:
        run: makes the callback that carries it out. options: what it can be told.
        summary: one line. source: where it comes from. cost: beyond plain training. needs: data it looks at.
    """

    name: str
    run: Callable[..., Pruning]
    options: type[TrainOptions]
    summary: str
    source: str
    cost: str
    needs: str


def _scored(score: type[Score]) -> Method:
    when = "cut before training" if score.early else "train, cut"
    return Method(
        score.name,
        partial(OneShotRun, score()),
        OneShotOptions,
        f"{when}: {score.summary}",
        score.source,
        score.cost,
        score.needs,
    )


def _moved(kind: type[Budgeted]) -> Method:
    return Method(
        kind.name, partial(DynamicsRun, kind), options_of(kind), kind.summary, kind.source, kind.cost, kind.needs
    )


_ROWS = (
    Method(
        "equilibrium",
        EquilibriumRun,
        EquilibriumOptions,
        "groups play a game during training; the price of participation clears a market at the budget",
        "Shah & Khan 2025, with the market of this project",
        "a few passes over gate slices each step",
        "training batches",
    ),
    *(_scored(score) for score in SCORES.values()),
    *(_moved(kind) for kind in DYNAMICS.values()),
)

METHODS: dict[str, Method] = {row.name: row for row in _ROWS}


def find_method(name: str) -> Method:
    """The method called ``name``.

    Raises:
        UnknownNameError: there is none; the nearest are suggested.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]
