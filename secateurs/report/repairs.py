"""What repairs after the cut gave: accuracy on validation data, rung by rung, beside that of the network before."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Record, RungRow
from . import formats
from .figures import ALERT, KEPT, MUTED, Axis, Figure, layout, number, text
from .page import Section, grid, paragraph, titled
from .tables import Column, Html, escape, table, tag

_ROW = 26  # pixels of a rung in the chart
_MARGIN = 0.08  # of the span of accuracies, on both sides


def repairs(record: Record) -> Section:
    """Every network between the cut and the end of the run, and which of them was kept."""
    rows = record.recovery
    target = max(row.accuracy for row in rows if row.is_reference)
    kept = record.repaired
    gap = formats.points(kept.accuracy - target)
    lead = (
        f"On validation data, which the run may choose by. What was kept in the end, {kept.label}, is at "
        f"{formats.percent(kept.accuracy)}: {gap} beside the best network before the cut."
    )
    return Section(
        "Repairs after the cut",
        [paragraph(lead, "lead"), grid(_dots(rows, target, kept), titled("Rung by rung", _table(rows, target, kept)))],
        "Recovery",
    )


def _table(rows: Sequence[RungRow], target: float, kept: RungRow) -> Html:
    cells = [
        [
            Html(f"{escape(row.label)} {tag('kept', 'good')}") if row is kept else row.label,
            formats.percent(row.accuracy),
            "" if row.is_reference else formats.points(row.accuracy - target),
            formats.duration(row.seconds) if row.seconds else "",
        ]
        for row in rows
    ]
    columns: list[Column | str] = [
        Column("network", align="left"),
        Column("accuracy", "validation"),
        Column("beside the best before"),
        "time",
    ]
    return table(columns, cells)


def _dots(rows: Sequence[RungRow], target: float, kept: RungRow) -> Figure:
    """One dot a network, in the order in which they were tried; the best before the cut is a line."""
    values = [row.accuracy for row in rows]
    low, high = min(values), max(values)
    margin = _MARGIN * (high - low) or 0.01
    marker = {
        "size": 11,
        "color": [KEPT if row is kept else MUTED for row in rows],
        "symbol": ["circle-open" if row.is_reference else "circle" for row in rows],
        "line": {"width": 2},
    }
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": [number(value) for value in values],
        "y": [text(row.label) for row in rows],
        "marker": marker,
        "hovertemplate": "%{y}: %{x:.2%}<extra></extra>",
    }
    line = {"type": "line", "xref": "x", "yref": "paper", "x0": number(target), "x1": number(target), "y0": 0, "y1": 1}
    x = Axis("validation accuracy", percent=True, range=(low - margin, high + margin))
    y = Axis("", extra={"type": "category", "autorange": "reversed", "showgrid": True, "nticks": len(rows)})
    return Figure(
        "Accuracy of each network",
        [dots],
        layout(x, y, shapes=[line | {"layer": "below", "line": {"color": ALERT, "dash": "dash", "width": 1.5}}]),
        "; ".join(f"{row.label}: {formats.percent(row.accuracy)}" for row in rows),
        "Dashed: the best network before the cut (open circles). Blue: the network that was kept.",
        height=90 + _ROW * len(rows),
    )
