"""The synthetic half of ``reproduce statmech``: what is run, and the sections made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..theory.teacher_student.pruning import edges_for
from . import statmech_figures as figures
from . import statmech_tables as tables
from .cells import Asked, Cell, Result
from .page import Section
from .statmech_rounds import KINDS
from .statmech_statements import statements

SIDE_BY_SIDE = 5  # rounds in a cell
TIMES = (1, 2, 5, 10, 20, 50, 100, 200, 400, 800, 1600)


@dataclass(frozen=True)
class Plan:
    """Sizes of a run; ``levels`` are (nodes, edges a node)."""

    inputs: int
    steps: int
    masks: int
    examples: int
    times: tuple[float, ...]

    def settings(self, teacher: int, student: int, levels: Sequence[tuple[int, int]], **extra: Any) -> dict[str, Any]:
        network = {"inputs": self.inputs, "teacher": teacher, "student": student, "strength": 4.0, "rate": 0.5}
        return {
            "setting": {**network, "noises": [0.0, 0.25]},
            "steps": self.steps,
            "levels": [list(level) for level in levels],
            "masks": self.masks,
            "examples": self.examples,
            **extra,
        }


FULL = Plan(500, 800_000, 100, 80_000, TIMES)
WIDE = Plan(500, 800_000, 20, 20_000, ())  # for Figure 2D, with M = 5 and K = 20
QUICK = Plan(60, 6_000, 10, 2_000, (1, 5, 20, 100))
QUICK_WIDE = Plan(60, 3_000, 5, 1_000, ())


def sections(asked: Asked) -> list[Section]:
    """Run the rounds (or read them from the cache) and lay them beside the table, the figures and the theorems."""
    main, wide = (QUICK, QUICK_WIDE) if asked.quick else (FULL, WIDE)
    count = asked.seeds or (2 if asked.quick else 10)
    levels = [(k, edges_for(k, main.inputs, 6)) for k in range(1, 6)]
    steps = [(k, round(k * wide.inputs / 20)) for k in range(1, 6)]
    cells = [
        Cell("rounds", main.settings(2, 6, levels, count=min(SIDE_BY_SIDE, count - first), matrices=first == 0,
                                     times=list(main.times)), first)
        for first in range(0, count, SIDE_BY_SIDE)
    ]  # fmt: skip
    cells.append(Cell("rounds", wide.settings(5, 20, steps, count=min(SIDE_BY_SIDE, count)), 0))
    *found, broad = asked.results(KINDS, cells)
    rows = [row for result in found for row in result["pruned"]]
    return [
        *(tables.table3(rows, noise, main.inputs) for noise in (0.0, 0.25)),
        tables.whole(rows),
        tables.variants(rows),
        _equations(found, main),
        figures.losses(rows, broad["pruned"], main.inputs),
        figures.order_parameters(found[0]["matrices"], levels, rows),
        *statements(),
    ]


def _equations(found: Sequence[Result], plan: Plan) -> Section:
    """Every round's simulation beside its equations: (time, quantity) → differences, rounds by noises."""
    joined = []
    for parts in zip(*(result["times"] for result in found), strict=True):
        merged = {
            side: {q: [r for p in parts for r in p[side][q]] for q in parts[0][side]} for side in ("seen", "told")
        }
        joined.append({"time": parts[0]["time"], **merged})
    return figures.equations(joined, plan.inputs)


__all__ = ["FULL", "QUICK", "sections"]
