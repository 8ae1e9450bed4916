"""Reproduction of the survey of magnitude pruning (and of the geometry in the survey of lottery tickets).

The surveys' worked examples and laws, computed: saliencies on a linear unit whose loss has just those derivatives, best
sparse approximation by trying every support, the density law in whole numbers, the chance of a winning ticket beside
drawing, a saddle that a mask makes a minimum, soft against hard thresholds, the masked Hessian before and after
rewinding, and random labels. Whatever is random is tested with exact intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import magnitude_chance as chance
from . import magnitude_sections as sections
from .cells import Asked, Cell, Result
from .laboratory import KINDS
from .page import Page

SUPPORTS = ((1, 4), (2, 6), (2, 10), (3, 12))  # (k, d): rare enough to matter, frequent enough to draw
THRESHOLDS = (0.4, 0.7, 1.0, 1.2816, 1.6, 1.9, 2.3)
LUNCH: tuple[tuple[str, str, dict[str, Any]], ...] = (  # label, method, its options
    ("dense", "dense", {}),
    ("random, one shot", "random", {}),
    ("magnitude, one shot", "magnitude", {}),
    ("Taylor, one shot", "taylor", {}),
    ("|∂L/∂s| before training (SNIP)", "taylor", {"cut": 0.0}),
    ("gradual magnitude", "gradual", {}),
    ("equilibrium", "equilibrium", {}),
)
LEAK = 0.25


def reproduce_magnitude(asked: Asked) -> Page:
    """Run everything (or what is missing in the cache) and lay it beside what the survey says.

    Args:
        asked: no data is needed, the digits come with scikit-learn and the rest is drawn; ``seeds`` are those of the
            trainings, ``printed_seeds`` has no meaning here.
    """
    quick = asked.quick
    runs = asked.seeds or (2 if quick else 10)
    lots = 20_000 if quick else 200_000

    def grid(cells: Sequence[Cell]) -> list[Result]:
        return asked.results(KINDS, cells)

    tickets = grid([Cell("draws", {"support": k, "total": d, "count": lots}) for k, d in SUPPORTS])
    curve = grid([Cell("draws", {"support": 2, "total": 10, "count": lots, "threshold": t}) for t in THRESHOLDS])
    sensing = {"unknowns": 64 if quick else 128, "k": 6 if quick else 10, "problems": 40 if quick else 100}
    spaced = [round(sensing["unknowns"] * i / 10) for i in range(1, 11)]
    sensed = grid([Cell("sensed", {**sensing, "measurements": spaced})])[0]
    lunch = _lunch(grid, runs, 30 if quick else 60)
    network = {"hidden": 8 if quick else 16, "epochs": 4 if quick else 30, "early": 40, "share": 0.2, "examples": 512}
    rewound = grid([Cell("rewound", network, seed) for seed in range(min(runs, 5))])
    parts = [
        sections.saliencies(),
        sections.approximation(),
        sections.density(),
        chance.tickets(SUPPORTS, tickets, lots),
        chance.thresholds(THRESHOLDS, curve, lots),
        sections.saddles(),
        chance.rewinding(rewound, network),
        sections.paths(),
        chance.sensing(spaced, sensed, sensing),
        chance.lunch([label for label, _, _ in LUNCH], lunch),
    ]
    if quick:
        parts = [part.without("verdict") for part in parts]
    protocol = (
        "Nothing is read: examples are written down, drawn, or the digits that come with scikit-learn. Intervals are "
        "Clopper and Pearson's, at 99%; a verdict on something random is an exact binomial test at 1%, shared by the "
        "rows of its table"
    )
    return Page("magnitude", "Magnitude pruning: what the survey says, computed", protocol, parts, quick=quick)


def _lunch(grid, runs: int, epochs: int) -> list[list[Result]]:
    """Hits of every method at every seed, and last of the dense network with a leak."""
    rows = [(name, options, 0.0) for _, name, options in LUNCH] + [("dense", {}, LEAK)]
    cells = [
        Cell("lunch", {"name": name, "options": options, "epochs": epochs, "leak": leak}, seed)
        for name, options, leak in rows
        for seed in range(runs)
    ]
    found = grid(cells)
    return [found[i * runs : (i + 1) * runs] for i in range(len(rows))]


__all__ = ["reproduce_magnitude"]
