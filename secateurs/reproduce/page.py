"""A reproduction as data: sections of rows, ready to be written as Markdown or HTML by whoever draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean, stdev
from typing import Any


@dataclass
class Series:
    """One line of a figure.

    Attributes:
        x, y: its points; a ``y`` of None, or one that is not finite, leaves a gap.
        low, high: a band around it, such as an interval; both or neither, as long as ``x``.
        dashed: for what is predicted, beside what was measured.
        points: marks alone, no line between them; ``low`` and ``high`` are bars then.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    dashed: bool = False
    points: bool = False

    def __post_init__(self) -> None:
        for name, values in (("y", self.y), ("low", self.low), ("high", self.high)):
            if values is not None and len(values) != len(self.x):
                raise ValueError(f"series {self.name!r}: {len(values)} values of {name} for {len(self.x)} of x")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"series {self.name!r}: a band needs both low and high")


@dataclass
class Figure:
    """A chart of lines, drawn into the page and as an SVG beside the Markdown.

    Attributes:
        name: of its file, and of nothing else on the page. title: what it shows.
        x, y: what the axes say, with the unit. log_x, log_y: logarithmic; what is not positive leaves a gap.
        percent_x, percent_y: the values are fractions, the axis shows per cent.
        note: below it. alt: for those who do not see it; default the title.
    """

    name: str
    title: str
    x: str
    y: str
    series: list[Series]
    log_x: bool = False
    log_y: bool = False
    percent_x: bool = False
    percent_y: bool = False
    note: str = ""
    alt: str = ""


@dataclass
class Panel:
    """A matrix of values from -1 to 1, drawn by their magnitude."""

    name: str
    values: list[list[float]]


@dataclass
class PanelRow:
    """Panels side by side, with a name before them."""

    name: str
    panels: list[Panel]


@dataclass
class Matrices:
    """Matrices as shaded panels, drawn into the page and as an SVG beside the Markdown.

    Attributes:
        name: of its file, and of nothing else on the page. note: below it. alt: default the title.
    """

    name: str
    title: str
    rows: list[PanelRow]
    note: str = ""
    alt: str = ""


@dataclass
class Section:
    """A table with its caption below it, and figures; ``brief`` names the columns that a terminal shows."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    brief: list[int] | None = None
    figures: Sequence[Figure | Matrices] = field(default_factory=list)

    def without(self, *names: str) -> Section:
        """The same table without some columns."""
        left = [i for i, column in enumerate(self.columns) if column not in names]
        rows = [[row[i] for i in left] for row in self.rows]
        brief = None if self.brief is None else [left.index(i) for i in self.brief if i in left]
        return Section(self.title, [self.columns[i] for i in left], rows, self.note, brief, self.figures)


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
