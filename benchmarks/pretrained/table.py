"""Rows as text and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]
COLUMNS = ("MACs", "cut by", "layers", "recovery", "top-1", "95%", "params", "left", "MACs left", "predicted", "CPU s")
WIDTHS = (5, 16, 8, 31, 6, 12, 10, 7, 10, 10, 7)
LEFT = 4  # columns of words


def cells(row: Row, dense: Row) -> list[str]:
    """One network's cells; ``dense`` is what it was cut from."""
    percent = lambda key: f"{100 * row[key] / dense[key]:.2f}%"  # noqa: E731
    whole = row is dense
    score = row["score"] + (f", draw {row['draw']}" if row["score"] == "random" else "")
    return [
        "100%" if whole else f"{100 * row['budget']:g}%",
        score,
        "" if whole else row["allocation"],
        "" if whole else row["recovery"],
        f"{100 * row['top1']:.1f}",
        f"{100 * row['low']:.1f} – {100 * row['high']:.1f}",
        f"{row['params']:,}",
        percent("params"),
        percent("macs"),
        "" if whole else ("= counted" if row["predicted"] == row["macs"] else f"{row['predicted']:,}"),
        "" if whole else f"{row['seconds']:.1f}",
    ]


def line(values: Sequence[str]) -> str:
    """One row of the text table: words to the left, numbers to the right."""
    pairs = enumerate(zip(values, WIDTHS))
    return " ".join(v.ljust(w) if i < LEFT else v.rjust(w) for i, (v, w) in pairs).rstrip()


def markdown(rows: Iterable[Row], about: Sequence[str]) -> str:
    """The page."""
    rows = list(rows)
    marks = ["---" if i < LEFT else "---:" for i in range(len(COLUMNS))]
    body = _grid([COLUMNS, marks, *[cells(row, rows[0]) for row in rows]])
    parts = ["# A pretrained network, cut without training", *about[:1], body, *_rungs(rows), *about[1:]]
    return "\n\n".join(parts) + "\n"


def _rungs(rows: Sequence[Row]) -> list[str]:
    """What every rung of the ladder gave, where one was climbed: accuracy on the images that judge."""
    climbed = [row for row in rows if row.get("rungs")]
    if not climbed:
        return []
    names = list(dict.fromkeys(rung["name"] for row in climbed for rung in row["rungs"]))
    lines = [["MACs", "cut by", *names], ["---", "---", *["---:"] * len(names)]]
    for row in climbed:
        gave = {rung["name"]: f"{100 * rung['value']:.1f}, {rung['seconds']:.0f} s" for rung in row["rungs"]}
        lines.append([f"{100 * row['budget']:g}%", row["score"], *(gave.get(name, "") for name in names)])
    title = "What every rung of *auto* gave: top-1 on the calibration images that judge, and wall seconds."
    return [title, _grid(lines)]


def _grid(lines: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(values) + " |" for values in lines)
