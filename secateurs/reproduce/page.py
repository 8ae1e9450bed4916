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


@dataclass
class Page:
    """What a ``reproduce`` command found.

    Attributes:
        name: file name of its pages. title: the paper's. protocol: how it was run.
        quick: whether it is the small version, whose figures mean little.
        provenance: versions, threads, device, data hash.
    """

    name: str
    title: str
    protocol: str
    sections: list[Section]
    quick: bool = False
    provenance: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def percent(value: float) -> str:
    """A fraction as per cent with two decimals, the unit left to the column."""
    return f"{100 * value:.2f}"


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation of fractions, in per cent."""
    text = percent(mean(values))
    return f"{text} ± {100 * stdev(values):.2f}" if len(values) > 1 else text
