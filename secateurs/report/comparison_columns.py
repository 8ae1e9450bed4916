"""What is measured of the runs of a comparison: its name, how it reads, which way is better, whether it is a cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..records import Block, Comparison, Difference, Estimate, Row
from . import formats


@dataclass(frozen=True)
class Measure:
    """A figure of a run, by its name in the record. ``ticks`` (a d3 format) and ``suffix`` write an axis of it;
    ``spread``: tables show half of its interval beside the mean."""

    key: str
    title: str
    form: Callable[[float | None], str]
    note: str = ""
    cost: bool = False
    higher: bool = False
    ticks: str = "~s"
    suffix: str = ""
    spread: bool = False


def _joules(value: float | None) -> str:
    return formats.MISSING if value is None else f"{formats.significant(value)} J"


def _probability(value: float | None) -> str:
    return formats.MISSING if value is None else f"{value:.3f}".replace("-", formats.MINUS)


ACCURACY = Measure("accuracy", "accuracy", formats.percent, higher=True)
# In the order of the tables: costs stand right behind accuracy.
MEASURES = (
    Measure("params", "parameters", formats.amount, cost=True),
    Measure("nonzero", "nonzero", formats.amount, "parameters that are not zero", cost=True),
    Measure("macs", "MACs", formats.amount, cost=True),
    Measure("bytes", "bytes", formats.size, cost=True, suffix="B"),
    Measure(
        "latency", "latency", formats.share, "of dense, timed together", cost=True, ticks="~r", suffix="×", spread=True
    ),
    Measure("latency_ms", "measured latency", formats.milliseconds, "at the load of that round"),
    Measure("worst_class", "worst class", formats.percent, "its accuracy", higher=True),
    Measure("worst_drop", "worst drop", formats.percent, "of a class"),
    Measure("calibration_error", "calibration error", formats.percent),
    Measure("agreement", "agreement", formats.percent, "with dense", higher=True),
    Measure("kl", "KL", formats.plain, "from dense, nats"),
    Measure("membership_auc", "membership AUC", _probability, "0.5 tells nothing"),
    Measure("peak_memory", "peak memory", formats.size, cost=True, suffix="B"),
    Measure("peak_device_memory", "device memory", formats.size, "peak", cost=True, suffix="B"),
    Measure("seconds", "training time", formats.duration, cost=True, ticks="~r", suffix=" s"),
    Measure("joules", "energy", _joules, cost=True, ticks="~s", suffix="J"),
)
BY_KEY = {m.key: m for m in (ACCURACY, *MEASURES)}
# In the order of the chart's menu.
_COSTS = ("macs", "params", "nonzero", "bytes", "latency", "seconds", "peak_memory", "peak_device_memory", "joules")


def measured(rows: Iterable[Row]) -> list[Measure]:
    """Those that any row has a figure of."""
    found = {name for row in rows for name in row.figures}
    return [m for m in MEASURES if m.key in found]


def costs(comparison: Comparison) -> list[Measure]:
    """Costs that accuracy can be drawn against; the resource of the first budget comes first."""
    rows = [row for block in comparison.blocks for row in block.rows]
    there = {m.key for m in measured(rows)}
    asked = [BY_KEY[key] for key in _asked(comparison) if key in there]
    return asked + [BY_KEY[key] for key in _COSTS if key in there and BY_KEY[key] not in asked]


def _asked(comparison: Comparison) -> list[str]:
    """The resource of the first budget, if it is a measured one."""
    block = next(iter(comparison.blocks), None)
    if block is None:
        return []
    name = next(iter(block.amounts), block.budget.partition("=")[0])
    return [name] if name in _COSTS else []


def half(found: Estimate) -> float | None:
    """Half of the interval."""
    return None if found.low is None or found.high is None else (found.high - found.low) / 2


def accuracy(found: Estimate | None) -> str:
    """``91.23% ± 0.18``: the mean and half of its interval, in percentage points."""
    return formats.MISSING if found is None else formats.percent(found.mean) + _spread(found)


def difference(found: Difference | None) -> str:
    """``+0.52 ± 0.31``, in percentage points."""
    if found is None:
        return formats.MISSING
    return formats.points(found.mean).removesuffix(" points") + _spread(found)


def _spread(found: Estimate) -> str:
    width = half(found)
    return "" if width is None else f" ± {100 * width:.2f}"


def probability(p: float | None) -> str:
    """A p value: two digits, ``< 0.001`` below."""
    if p is None:
        return formats.MISSING
    return "< 0.001" if p < 0.001 else formats.significant(p, 2)


def ranked(rows: Sequence[Row]) -> list[Row]:
    """By accuracy, the best first; those without any last."""
    return sorted(rows, key=lambda row: -row.figures["accuracy"].mean if "accuracy" in row.figures else 1.0)


def methods_of(block: Block) -> list[str]:
    """Methods with an accuracy, the best first, without controls."""
    return [row.method for row in ranked(block.rows) if row.role == "method" and "accuracy" in row.figures]


def leader(block: Block) -> str:
    """The method with the highest mean accuracy; empty where none has any."""
    return next(iter(methods_of(block)), "")


def standing(blocks: Sequence[Block]) -> list[str]:
    """Methods, without the controls, by their mean place over the budgets that they have a figure at."""
    places: dict[str, list[int]] = {}
    for block in blocks:
        rows = [row for row in ranked(block.rows) if row.role == "method"]
        for place, row in enumerate(rows):
            places.setdefault(row.method, []).append(place if "accuracy" in row.figures else len(rows))
    return sorted(places, key=lambda method: sum(places[method]) / len(places[method]))
