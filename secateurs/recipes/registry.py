"""Every method by name: one row says what it is, where it comes from, what it costs and what it needs.

Scores and rules of participation describe themselves, so whatever stands in their registries is a method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..criteria import SCORES, Score
from ..dynamics import DYNAMICS, Budgeted, ConcaveMask
from ..errors import unknown
from .concave import ConcaveOptions, ConcaveRun
from .controls import DenseRun, ScratchOptions, ScratchRun
from .earlybird import EarlyBirdOptions, EarlyBirdRun
from .flagship import EquilibriumOptions, EquilibriumRun
from .levels import LevelsRun
from .oneshot import OneShotOptions, OneShotRun
from .options import TrainOptions
from .playing import DynamicsRun, options_of
from .pruning import Pruning
from .tickets import LevelsOptions


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
    run, options = _RUNS.get(kind.name) or (partial(DynamicsRun, kind), options_of(kind))
    return Method(kind.name, run, options, kind.summary, kind.source, kind.cost, kind.needs)


# Rules that are searched with, level by level, instead of being played once.
_RUNS: dict[str, tuple[Callable[..., Pruning], type[TrainOptions]]] = {
    ConcaveMask.name: (ConcaveRun, ConcaveOptions),
}


def _level_by_level(name: str, summary: str, source: str, **how: Any) -> Method:
    run = partial(LevelsRun, **how)
    return Method(name, run, LevelsOptions, summary, source, "a training for every level", "training batches")


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
    _level_by_level(
        "imp",
        "lottery tickets: iterative magnitude pruning, weights rewound to where they started after every level",
        "Frankle & Carbin 2019; Frankle et al. 2020 (late rewinding)",
    ),
    _level_by_level(
        "imp-finetune",
        "iterative magnitude pruning, weights kept and fine-tuned after every level",
        "Han et al. 2015",
        restart="keep",
    ),
    _level_by_level(
        "lr-rewinding",
        "iterative magnitude pruning, weights kept, the learning rate's schedule rewound after every level",
        "Renda et al. 2020",
        restart="lr-rewind",
    ),
    _level_by_level(
        "imp-reinit",
        "imp's ticket with freshly drawn weights: the control for where the weights start",
        "control; Frankle & Carbin 2019",
        restart="reinit",
    ),
    _level_by_level(
        "imp-random",
        "a random mask with as many groups in every layer as imp's: the control for where the mask sits",
        "control; Frankle & Carbin 2019",
        shuffle=True,
    ),
    Method(
        "early-bird",
        EarlyBirdRun,
        EarlyBirdOptions,
        "train until the mask at the budget settles, cut there, train the ticket with the steps left",
        "You et al. 2020",
        "a mask every epoch",
        "training batches",
    ),
    Method(
        "dense",
        DenseRun,
        TrainOptions,
        "the whole network, trained for the same steps; nothing is cut: the control for pruning at all",
        "control",
        "none",
        "nothing",
    ),
    Method(
        "scratch",
        ScratchRun,
        ScratchOptions,
        "the network that another run found, trained from scratch: the control for what was learned before the cut",
        "control; Liu et al. 2019",
        "none",
        "a finished run",
    ),
)

CONTROLS = ("dense", "scratch", "random", "imp-random", "imp-reinit")

METHODS: dict[str, Method] = {row.name: row for row in _ROWS}


def find_method(name: str) -> Method:
    """The method called ``name``.

    Raises:
        UnknownNameError: there is none; the nearest are suggested.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]
