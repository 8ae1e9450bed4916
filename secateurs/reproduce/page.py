"""A reproduction as data: sections of rows, ready to be written as Markdown or HTML by whoever draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean, stdev
from typing import Any


@dataclass
class Section:
    """A table with its caption below it; ``brief`` names the columns that a terminal shows."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    brief: list[int] | None = None

    def without(self, *names: str) -> Section:
        """The same table without some columns."""
        left = [i for i, column in enumerate(self.columns) if column not in names]
        rows = [[row[i] for i in left] for row in self.rows]
        brief = None if self.brief is None else [left.index(i) for i in self.brief if i in left]
        return Section(self.title, [self.columns[i] for i in left], rows, self.note, brief)


QUICK = (
    "A quick run: it checks that the code runs, on a little data, for a few steps. "
    "Its figures mean nothing and are not judged."
)


@dataclass
class Page:
    """What a ``reproduce`` command found.

    Attributes:
        name: file name of its pages. title: the paper's. protocol: how it was run.
        quick: whether it is the small version, whose figures mean nothing.
        provenance: versions, threads, device, data hash.
    """

    name: str
    title: str
    protocol: str
    sections: list[Section]
    quick: bool = False
    provenance: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "warning": QUICK if self.quick else ""}


def percent(value: float) -> str:
    """A fraction as per cent with two decimals, the unit left to the column."""
    return f"{100 * value:.2f}"


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation of fractions, in per cent."""
    text = percent(mean(values))
    return f"{text} ± {100 * stdev(values):.2f}" if len(values) > 1 else text
