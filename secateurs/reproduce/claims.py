"""What Frankle & Carbin (2019) claim of LeNet-300-100, each beside the same two numbers of every seed here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Literal

from ..maths.student import paired_t
from .page import Section, spread

if TYPE_CHECKING:
    from .lottery import Curves

LEVEL = 0.05  # of significance
TARGET = 0.003  # ours: a ticket above its mask with fresh weights, at 21% of the weights
R21, R13, R3 = 7, 9, 15  # rounds that leave 21%, 13.5% and 3.6%


@dataclass(frozen=True)
class Claim:
    """Two numbers of every seed, and how the paper says they compare.

    Attributes:
        says: in words. printed: the paper's figure. left, right: ours, seed by seed.
        expected: 'above', 'below', or 'not below' where the paper says that they are about equal.
        unit: 'points' for accuracies, 'iterations' for moments of early stopping.
    """

    says: str
    printed: str
    left: Sequence[float]
    right: Sequence[float]
    expected: Literal["above", "below", "not below"]
    unit: Literal["points", "iterations"] = "points"

    def row(self) -> list[str]:
        """The claim as a row: what is said, printed, ours (two numbers and their difference), p, and a verdict."""
        gain, p = paired_t(self.left, self.right)
        if self.unit == "points":
            shown, difference = [spread(self.left), spread(self.right)], f"{100 * gain:+.2f} points"
        else:
            shown = [f"{mean(self.left):,.0f}", f"{mean(self.right):,.0f}"]
            difference = f"{mean(self.left) / mean(self.right):.2f}×"
        chance = "" if math.isnan(p) else f"{p:.2g}"
        return [self.says, self.printed, *shown, difference, chance, self.verdict(gain, p)]

    def verdict(self, gain: float, p: float) -> str:
        """``agrees``, ``disagrees``, ``above it`` instead of equal, or ``undecided`` where seeds do not tell."""
        if math.isnan(p):
            return ""
        seen = p < LEVEL
        if self.expected == "not below":
            return "agrees" if not seen else "disagrees" if gain < 0 else "above it"
        if not seen:
            return "undecided"
        return "agrees" if (gain > 0) == (self.expected == "above") else "disagrees"


def claims_of(curves: Curves) -> list[Claim]:
    """The claims that these trainings can speak of."""
    value = curves.values
    dense, stop = value("ticket", 0, "early"), value("ticket", 0, "stop")
    return [
        Claim(
            "at 21% of the weights the ticket stops earlier than the dense network",
            "38% sooner (0.62×)",
            value("ticket", R21, "stop"),
            stop,
            "below",
            "iterations",
        ),
        Claim(
            "at 13.5% the ticket is more accurate than the dense network",
            "more than +0.3 points",
            value("ticket", R13, "early"),
            dense,
            "above",
        ),
        Claim("at 3.6% the ticket is as accurate as the dense network", "equal", value("ticket", R3, "early"), dense,
              "not below"),
        Claim(
            "at 21% the ticket is more accurate than its mask with fresh weights",
            "+0.5 points",
            value("ticket", R21, "early"),
            value("reinit", R21, "early"),
            "above",
        ),
        Claim(
            "at 21% fresh weights stop later than the ticket",
            "2.51×",
            value("reinit", R21, "stop"),
            value("ticket", R21, "stop"),
            "above",
            "iterations",
        ),
        Claim(
            "from 21% on fresh weights are less accurate than the dense network",
            "below it from 21.1% on",
            value("reinit", R21, "early"),
            dense,
            "below",
        ),
        Claim(
            "at 13.5% one-shot tickets are more accurate than the dense network",
            "above it from 95% to 5.17%",
            value("one-shot", R13, "early"),
            dense,
            "above",
        ),
    ]  # fmt: skip


def claims_section(curves: Curves, steps: int, count: int) -> Section:
    """The claims beside ours, and our own target."""
    rows = [claim.row() for claim in claims_of(curves)]
    ticket, fresh = curves.values("ticket", R21, "early"), curves.values("reinit", R21, "early")
    gain, p = paired_t(ticket, fresh)
    reached = gain >= TARGET and p < LEVEL
    rows.append(
        [
            "our target: at 21% the ticket beats its mask with fresh weights by 0.3 points, p < 0.05",
            "",
            spread(ticket),
            spread(fresh),
            f"{100 * gain:+.2f} points",
            "" if math.isnan(p) else f"{p:.2g}",
            "reached" if reached else "short of it",
        ]
    )
    columns = ["claim", "printed", "ours, first", "ours, second", "difference or ratio", "p", "verdict"]
    note = f"{count} seeds. First and second: the two that the claim compares, in its order; accuracies in per cent at "
    note += (
        "early stopping, or iterations of early stopping. p: two-sided paired t-test over seeds, not corrected for the "
        f"number of claims. A claim agrees where the difference has its sign and p < {LEVEL}, disagrees where it has "
        "the other, and is undecided else. Where both are to be equal, it agrees unless p says otherwise. Sizes are "
        f"not judged: trainings of {steps:,} iterations end while large networks still learn, so what learns faster is "
        "also more accurate, and what would stop later stops at their end."
    )
    return Section("Claims", columns, rows, note, brief=[0, 1, 4, 5, 6])


__all__ = ["Claim", "claims_of", "claims_section"]
