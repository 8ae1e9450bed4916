"""A comparison as a page of the documentation: Markdown tables with every row, and a small picture beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..records import Block, Comparison, Row
from ..storage import write_text
from . import comparison_columns as columns
from . import plots
from .comparison import verdict
from .comparison_columns import Measure
from .comparison_tables import Cell, Head, budget_cells, failure_cells, trial_cells
from .headline import NAMES

LINES = 6  # of methods, as many as the picture has colours; controls are grey


def write_comparison_markdown(comparison: Comparison, path: str | Path) -> list[Path]:
    """Write the Markdown page, and its picture ``STEM.svg`` where there is something to draw.

    Raises:
        RunError: the folder cannot be written.
    """
    path = Path(path)
    drawn = comparison_picture(comparison)
    picture = path.with_suffix(".svg")
    text = comparison_markdown(comparison, None if drawn is None else picture.name)
    return [write_text(path, text), *([] if drawn is None else [write_text(picture, drawn)])]


def comparison_markdown(comparison: Comparison, picture: str | None) -> str:
    """The page as Markdown.

    Args:
        picture: address of the picture, relative to the page; None: no picture.
    """
    title = f"# Pruning methods compared: {_text(comparison.model)} on {_text(comparison.data)}"
    parts = [title, f"**{_text(verdict(comparison))}.**", f"By {_text(comparison.granularity)}. {_state(comparison)}"]
    if picture:
        chosen = _lines(comparison)
        parts.append(f"![Accuracy against cost]({picture})")
        if len(chosen) < len({row.method for block in comparison.blocks for row in block.rows}):
            parts.append(f"The picture shows {_text(', '.join(chosen))}; the tables hold every method.")
    if comparison.protocol:
        parts += ["## Protocol", "\n".join(f"- {_text(sentence)}" for sentence in comparison.protocol)]
    for block in comparison.blocks:
        parts += [f"## {_text(block.budget)}", _text(block.sentence), _block(comparison, block)]
    if comparison.tried:
        parts += ["## What the search tried", _table(*trial_cells(comparison))]
    if comparison.failures:
        parts += ["## Failed runs", _table(*failure_cells(comparison))]
    if comparison.provenance or comparison.command:
        parts.append("## Provenance")
    parts.append("\n".join(f"- {_text(name)}: {_text(value)}" for name, value in comparison.provenance.items()))
    if comparison.command:
        fence = "`" * max(
            3, 1 + max(map(len, "".join(c if c == "`" else " " for c in comparison.command).split()), default=0)
        )
        parts.append(f"{fence}sh\n{comparison.command}\n{fence}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _state(comparison: Comparison) -> str:
    dense = None if comparison.dense is None else comparison.dense.figures.get("accuracy")
    said = (
        f"{len(comparison.runs):,} runs finished, {len(comparison.failures):,} failed, {comparison.missing:,} missing."
    )
    return said if dense is None else f"{said} The dense network: {columns.accuracy(dense)}."


def _block(comparison: Comparison, block: Block) -> str:
    if not block.rows:
        return "No run at this budget has finished yet."
    note = "Accuracy is on the test set. ± is half of the 95% interval. Differences are to "
    heads, rows = budget_cells(comparison, block)
    latency = " Latency is that of the dense network of the same seed, both timed in one round."
    timed = latency if any("latency" in row.figures for row in block.rows) else ""
    return f"{_table(heads, rows)}\n\n{note}{_text(comparison.against)}, in percentage points.{timed}"


def _table(heads: Sequence[Head], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    body = [[_text(cell.shown if isinstance(cell, Cell) else str(cell)) for cell in row] for row in rows]
    rule = ["---:" if head.number else "---" for head in heads]
    return "\n".join([line([_text(head.title) for head in heads]), line(rule), *map(line, body)])


def _text(value: str) -> str:
    """A user's string as Markdown that shows it as it is, in one line."""
    out = " ".join(value.split())
    for sign in ("\\", "|", "*", "`", "[", "]"):
        out = out.replace(sign, f"\\{sign}")
    return out.replace("&", "&amp;").replace("<", "&lt;")


def comparison_picture(comparison: Comparison) -> str | None:
    """Accuracy against the first budget's resource as an SVG document; None where there is nothing to draw.

    The best methods and the one held against, for more lines cannot be told apart; in grey random groups, a network
    from scratch, and the dense network, across.
    """
    costs = columns.costs(comparison)
    chosen = _lines(comparison)
    if not costs or not chosen:
        return None
    cost = costs[0]
    whole = None if comparison.dense is None else comparison.dense.figures.get(cost.key)
    unit = whole.mean if whole is not None and whole.mean > 0 else None
    series = [s for name in chosen if (s := _series(comparison, name, cost, unit)) is not None]
    for s in series:
        if s["name"] in _controls(comparison):
            s |= {"grey": True, "dotted": s["name"] == "random"}
    if not series:
        return None
    amounts = [x for s in series for x in s["x"]]
    dense = None if comparison.dense is None else comparison.dense.figures.get("accuracy")
    if dense is not None:
        ends = [min(amounts), max([*amounts, *([1.0] if unit else [])])]
        series.append(_line("dense", ends, [dense.mean] * 2, None, None) | {"dashed": True, "grey": True})
    axis = f"{NAMES.get(cost.key, cost.title)}{', of the dense network' if unit else ''}"
    given = {
        "title": f"{comparison.model} on {comparison.data}: accuracy against {cost.title}",
        "x": axis,
        "y": "accuracy on the test set",
        "series": series,
        "log_x": min(amounts) > 0 and max(amounts) / min(amounts) >= 4,
        "log_y": False,
        "percent_x": unit is not None,
        "percent_y": True,
        "note": "",
        "alt": verdict(comparison),
    }
    return plots.svg(given)


def _lines(comparison: Comparison) -> list[str]:
    """What the picture shows: methods, the best first, then controls."""
    order = columns.standing(comparison.blocks)
    always = [comparison.against] if comparison.against in order else []
    best = [name for name in order if name not in always][: LINES - len(always)]
    return [name for name in order if name in (*best, *always)] + _controls(comparison)


def _controls(comparison: Comparison) -> list[str]:
    """Random groups, and the first network from scratch."""
    rows = [row.method for block in comparison.blocks for row in block.rows if row.role != "method"]
    scratch = next((name for name in rows if name.startswith("scratch:")), None)
    return [name for name in ("random", scratch) if name in rows]


def _series(comparison: Comparison, method: str, cost: Measure, unit: float | None) -> dict[str, Any] | None:
    found = [row for block in comparison.blocks for row in block.rows if row.method == method]
    rows = sorted((r for r in found if {"accuracy", cost.key} <= set(r.figures)), key=lambda r: _amount(r, cost))
    if not rows:
        return None
    measured = [row.figures["accuracy"] for row in rows]
    x = [_amount(row, cost) / (unit or 1.0) for row in rows]
    # An interval from two seeds may be wider than accuracies go.
    low = [max(0.0, f.low) for f in measured if f.low is not None]
    high = [min(1.0, f.high) for f in measured if f.high is not None]
    if len(low) < len(measured) or len(high) < len(measured):
        return _line(method, x, [f.mean for f in measured], None, None)
    return _line(method, x, [f.mean for f in measured], low, high)


def _amount(row: Row, cost: Measure) -> float:
    return row.figures[cost.key].mean


def _line(name: str, x: Sequence[float], y: Sequence[float], low: Any, high: Any) -> dict[str, Any]:
    return {"name": name, "x": x, "y": y, "low": low, "high": high, "dashed": False, "points": False}
