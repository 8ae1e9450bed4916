"""Reproduction of *The Lottery Ticket Hypothesis* (Frankle & Carbin 2019) on LeNet-300-100, and its controls.

1. Iterative magnitude pruning with rewinding: accuracy and the iteration of early stopping against the share of weights
   remaining; the same masks with fresh weights, random masks, one-shot masks, and rewinding to a later step
   (Frankle et al. 2020).
2. What the paper claims of it, beside ours.

As in the paper: Gaussian Glorot weights, Adam 1.2e-3, batch 60, 20% of every layer's weights a round and 10% of the
output layer's, early stopping at the smallest validation loss. Trainings are far shorter than its 50,000 iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, Literal

from ..maths.student import paired_t
from .cells import Asked, Cell, Result
from .chains import run_chain
from .claims import claims_section
from .page import Figure, Page, Section, Series, percent, spread

MODEL = "zoo:lenet-300-100-glorot"
KINDS: dict[str, Callable[..., Result]] = {"chain": run_chain}
FULL: dict[str, Any] = {
    "model": MODEL, "steps": 2500, "every": 100, "batch_size": 60, "lr": 1.2e-3, "rounds": 15,
    "controls": [3, 5, 7, 9, 15],
}  # fmt: skip
QUICK: dict[str, Any] = {**FULL, "steps": 60, "every": 20, "rounds": 3, "controls": [3], "limit": 4000}
LATE, LATE_QUICK = 100, 10  # the step that late rewinding goes back to
Moment = Literal["early", "end"]


def cells_of(data: str, seeds: int, quick: bool) -> list[Cell]:
    """The chains from the initial weights with their controls, and then those from a later step, at every seed."""
    common = {"data": data, **(QUICK if quick else FULL)}
    late = {**common, "controls": [], "rewind": LATE_QUICK if quick else LATE}
    return [Cell("chain", s, seed) for s in ({**common, "rewind": 0}, late) for seed in range(seeds)]


@dataclass
class Curves:
    """What the chains found: by kind of network and round, a result of every seed.

    Attributes:
        rows: kind → round → results; kinds are ``ticket``, ``reinit``, ``random``, ``one-shot``, ``late``.
        kept: round → fraction of weights remaining.
    """

    rows: dict[str, dict[int, list[Result]]]
    kept: dict[int, float]

    def values(self, kind: str, level: int, what: str) -> list[float]:
        """A number of every seed: ``early`` or ``end`` accuracy, or the ``stop`` iteration."""
        return [float(r[what]) for r in self.rows[kind][level]]

    def levels(self, kind: str) -> list[int]:
        """The rounds at which this kind was trained."""
        return sorted(self.rows[kind])


def curves_of(chains: Sequence[Result], late: Sequence[Result], controls: Sequence[int]) -> Curves:
    """Results by kind and round, the seeds side by side."""
    rows: dict[str, dict[int, list[Result]]] = {
        "ticket": _by_round([c["ticket"] for c in chains], range(len(chains[0]["ticket"]))),
        "late": _by_round([c["ticket"] for c in late], range(len(late[0]["ticket"]))),
    }
    for kind in ("reinit", "random", "one-shot"):
        rows[kind] = _by_round([c[kind] for c in chains], controls)
        rows[kind][0] = rows["ticket"][0]  # with all weights they are the same network
    return Curves(rows, {level: mean(r["kept"] for r in found) for level, found in rows["ticket"].items()})


def _by_round(found: Sequence[Sequence[Result]], levels: Sequence[int]) -> dict[int, list[Result]]:
    return {level: [of_seed[i] for of_seed in found] for i, level in enumerate(levels)}


def reproduce_lottery(asked: Asked) -> Page:
    """Run everything (or what is missing in the cache) and lay the figures beside the printed ones.

    Args:
        asked: data is ``mnist:DIR`` (or digits, for a look); quick is 60 iterations a training on 4,000 images, three
            rounds, one seed; ``printed_seeds`` is not used, the paper's own setting is that of all seeds.
    """
    quick = asked.quick
    count = asked.seeds or (1 if quick else 5)
    cells = cells_of(asked.data, count, quick)
    found = asked.results(KINDS, cells)
    settings = dict(cells[0].settings)
    curves = curves_of(found[:count], found[count:], settings["controls"])
    sections = [_table(curves, count), _controls(curves, count)]
    if not quick:
        sections.append(claims_section(curves, settings["steps"], count))
    return Page("lottery", "The Lottery Ticket Hypothesis", _protocol(settings), sections, quick=quick)


def _protocol(settings: dict[str, Any]) -> str:
    return (
        f"LeNet-300-100 (266,200 weights on MNIST), Gaussian Glorot initialisation, Adam {settings['lr']:g}, batch "
        f"{settings['batch_size']}, {settings['steps']:,} iterations a training instead of the paper's 50,000; "
        "a twelfth of the training images held out for validation (5,000 of 60,000); a round takes the smallest "
        "20% of every layer's weights, 10% of the output layer's; early stopping at the smallest validation loss, "
        f"looked at every {settings['every']} iterations; accuracy on the test set, read once by each network, for its "
        "weights at early stopping and at the end; ± is the standard deviation over seeds 0, 1, …"
    )


NAMES = {
    "ticket": "ticket",
    "late": "rewound to a later step",
    "one-shot": "one-shot ticket",
    "reinit": "ticket's mask, fresh weights",
    "random": "random mask",
}


def _table(curves: Curves, count: int) -> Section:
    rows = [
        [
            f"{level}",
            percent(kept),
            *(spread(curves.values(kind, level, what)) for kind in ("ticket", "late") for what in ("early", "end")),
            f"{mean(curves.values('ticket', level, 'stop')):,.0f}",
        ]
        for level, kept in curves.kept.items()
    ]
    columns = [
        "round", "weights remaining %", "ticket, early stop", "ticket, end", "later step, early stop",
        "later step, end", "ticket's early stop at iteration",
    ]  # fmt: skip
    note = f"{count} seeds. Accuracy in per cent. Later step: weights go back to those of iteration "
    note += f"{LATE} of the first training instead of 0 ({LATE_QUICK} in a quick run)."
    figures = [
        _figure(curves, "early", "early", "Test accuracy at early stopping against weights remaining"),
        _figure(curves, "end", "end", "Test accuracy at the end of training against weights remaining"),
        _figure(curves, "stop", "stop", "Iteration of early stopping against weights remaining"),
    ]
    return Section("Tickets", columns, rows, note, brief=[0, 1, 2, 3, 6], figures=figures)


def _figure(curves: Curves, what: str, name: str, title: str) -> Figure:
    series = []
    for kind, label in NAMES.items():
        levels = curves.levels(kind)
        found = [curves.values(kind, level, what) for level in levels]
        middle = [mean(values) for values in found]
        wide = [stdev(values) if len(values) > 1 else 0.0 for values in found]
        band = len(found[0]) > 1
        series.append(
            Series(
                label,
                [curves.kept[level] for level in levels],
                middle,
                [m - w for m, w in zip(middle, wide)] if band else None,
                [m + w for m, w in zip(middle, wide)] if band else None,
                dashed=kind in ("reinit", "random"),
            )
        )
    return Figure(
        name,
        title,
        "weights remaining",
        "iteration" if what == "stop" else "test accuracy",
        series,
        log_x=True,
        percent_x=True,
        percent_y=what != "stop",
        note="Bands are one standard deviation over seeds.",
    )


def _controls(curves: Curves, count: int) -> Section:
    rows = []
    for level in curves.levels("reinit"):
        if level == 0:
            continue
        ticket = curves.values("ticket", level, "early")
        gain, p = paired_t(ticket, curves.values("reinit", level, "early"))
        rows.append(
            [
                percent(curves.kept[level]),
                spread(ticket),
                *(spread(curves.values(kind, level, "early")) for kind in ("one-shot", "reinit", "random")),
                f"{100 * gain:+.2f}",
                f"{p:.2g}" if count > 1 else "",
                *(spread(curves.values(kind, level, "end")) for kind in ("ticket", "reinit")),
                significance(curves, level, "end", count),
            ]
        )
    columns = [
        "weights remaining %", "ticket", "one-shot", "fresh weights", "random mask", "ticket − fresh", "p",
        "ticket, end", "fresh weights, end", "ticket − fresh, end",
    ]  # fmt: skip
    note = f"{count} seeds. Test accuracy in per cent, at early stopping unless it says at the end. Fresh weights: the "
    note += (
        "ticket's mask, another draw of the initial weights. Random mask: as many weights in every layer, the ticket's "
        "initial weights. One-shot: as many, the largest of the trained dense network, its initial weights. p: "
        "two-sided paired t-test over seeds of no difference between the ticket and the fresh weights."
    )
    return Section("Controls", columns, rows, note, brief=[0, 1, 3, 4, 5, 6])


def significance(curves: Curves, level: int, what: Moment, count: int) -> str:
    """Ticket minus fresh weights in points, with its p-value."""
    gain, p = paired_t(curves.values("ticket", level, what), curves.values("reinit", level, what))
    return f"{100 * gain:+.2f}" + (f" (p = {p:.2g})" if count > 1 else "")


__all__ = ["KINDS", "Curves", "cells_of", "curves_of", "reproduce_lottery"]
