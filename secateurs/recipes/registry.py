"""Every method by name: one row says what it is, where it comes from, what it costs and what it needs."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import unknown
from .flagship import EquilibriumOptions, EquilibriumRun
from .oneshot import MagnitudeRun, OneShotOptions, RandomRun, TaylorRun
from .options import TrainOptions
from .pruning import Pruning


@dataclass(frozen=True)
class Method:
    """A registry row.

    Attributes:
        run: the callback that carries it out. options: what it can be told.
        summary: one line. source: where it comes from. cost: beyond plain training. needs: data it looks at.
    """

    name: str
    run: type[Pruning]
    options: type[TrainOptions]
    summary: str
    source: str
    cost: str
    needs: str


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
    Method(
        "magnitude",
        MagnitudeRun,
        OneShotOptions,
        "train, cut the groups with the smallest ℓ2 norm, recover",
        "Han et al. 2015; Li et al. 2017 (filters)",
        "none",
        "nothing",
    ),
    Method(
        "taylor",
        TaylorRun,
        OneShotOptions,
        "train, cut the groups with the smallest |⟨∂L/∂θ, θ⟩|, recover",
        "Molchanov et al. 2019",
        "a few backward passes, once",
        "calibration batches",
    ),
    Method(
        "random",
        RandomRun,
        OneShotOptions,
        "train, cut random groups, recover: the control",
        "control",
        "none",
        "nothing",
    ),
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
