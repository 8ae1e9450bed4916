"""Tables of a comparison: every method at a budget, failed runs, all runs; the page's script sorts and filters them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any
from urllib.parse import quote

from ..records import Block, Comparison, Row, RunRow
from ..spec import written
from . import comparison_columns as columns
from . import formats
from .comparison_columns import ACCURACY, MEASURES, Measure
from .page import paragraph
from .tables import Html, escape, tag


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number that it is sorted by; None is missing, and sorted last."""

    shown: str
    value: float | None = None
    hint: str = ""


@dataclass(frozen=True)
class Head:
    """A heading. ``first``: what the first press sorts by; ``sorted``: the table comes in this order, descending."""

    title: str
    note: str = ""
    number: bool = True
    higher: bool = False
    sorted: bool = False


def sortable(heads: Sequence[Head], rows: Iterable[Sequence[Any]], *, label: str, tall: bool = False) -> Html:
    """A table whose headings the script makes pressable. Cells are :class:`Cell`, :class:`Html` or text.

    Args:
        label: what the table is, for those who hear it.
        tall: in a box of its own height.
    """
    top = "".join(_heading(head) for head in heads)
    body = "".join(f"<tr>{''.join(_cell(h, c, i == 0) for i, (h, c) in enumerate(zip(heads, r)))}</tr>" for r in rows)
    kind = "scroll tall" if tall else "scroll"
    return Html(
        f'<div class="{kind}" role="region" aria-label="{escape(label)}" tabindex="0"><table class="sortable">'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _heading(head: Head) -> str:
    kind = "" if head.number else ' class="left" data-text'
    order = ' aria-sort="descending"' if head.sorted else ""
    first = ' data-first="descending"' if head.higher else ""
    note = f'<span class="note">{escape(head.note)}</span>' if head.note else ""
    return f'<th scope="col"{kind}{order}{first}>{escape(head.title)}{note}</th>'


def _cell(head: Head, cell: Any, first: bool) -> str:
    shown = escape(cell.shown if isinstance(cell, Cell) else cell)
    value = hint = ""
    if isinstance(cell, Cell):
        value = "" if cell.value is None or not isfinite(cell.value) else f' data-v="{cell.value:.9g}"'
        hint = f' title="{escape(cell.hint)}"' if cell.hint else ""
    if first:
        return f'<th scope="row">{shown}</th>'
    return f"<td{'' if head.number else chr(32) + 'class=left'}{value}{hint}>{shown}</td>"


def budget_table(comparison: Comparison, block: Block) -> Html:
    """All methods and controls at a budget, the best first; only columns that have a figure."""
    if not block.rows:
        return paragraph("No run at this budget has finished yet.", "none")
    heads, cells = budget_cells(comparison, block)
    marked = [[_named(block, row), *rest] for row, (_, *rest) in zip(_rows(comparison, block), cells)]
    return sortable(heads, marked, label=f"methods at {block.budget}")


def _rows(comparison: Comparison, block: Block) -> list[Row]:
    """With the dense network, whatever the budget."""
    return columns.ranked([*block.rows, *([comparison.dense] if comparison.dense is not None else [])])


def budget_cells(comparison: Comparison, block: Block) -> tuple[list[Head], list[list[Any]]]:
    """That table's headings and cells."""
    rows = _rows(comparison, block)
    made = [*_columns(comparison, rows), *_counts(rows, len(comparison.seeds))]
    body = [[row.method, row.role, *(make(row) for _, make in made)] for row in rows]
    heads = [Head("method", number=False), Head("role", number=False), *(head for head, _ in made)]
    if any(row.options for row in rows):
        heads.append(Head("options", "chosen, or given", number=False))
        body = [[*cells, written(row.options)] for cells, row in zip(body, rows)]
    return heads, body


Made = tuple[Head, Callable[[Row], Cell]]


def _columns(comparison: Comparison, rows: Sequence[Row]) -> list[Made]:
    """Accuracy, the difference, and everything that was measured."""
    out: list[Made] = []
    if any("accuracy" in row.figures for row in rows):
        out.append((Head("accuracy", "±: half of the 95% interval", higher=True, sorted=True), _accuracy))
    if any(row.against is not None for row in rows):
        out.append((Head(f"against {comparison.against}", "points, paired by seed", higher=True), _difference))
    if any(row.against is not None and row.against.p is not None for row in rows):
        out.append((Head("p", "not adjusted"), _probability))
    return out + [(Head(m.title, m.note, higher=m.higher), _measure(m)) for m in columns.measured(rows)]


def _counts(rows: Sequence[Row], seeds: int) -> list[Made]:
    def finished(row: Row) -> Cell:
        n = len(row.runs)
        return Cell(f"{n} of {seeds}" if n < seeds else formats.count(n), n)

    out: list[Made] = [(Head("n", "runs"), finished)]
    if any(row.failed for row in rows):
        out.append((Head("failed"), lambda row: Cell(formats.count(row.failed), row.failed)))
    return out


def _named(block: Block, row: Row) -> Html:
    mark = ""
    if row.method == block.winner:
        mark = " " + tag("wins", "good")
    elif row.best and block.winner is None:
        mark = " " + tag("leads" if row.method == columns.leader(block) else "level")
    return Html(f"{escape(row.method)}{mark}")


def _accuracy(row: Row) -> Cell:
    found = row.figures.get("accuracy")
    return Cell(columns.accuracy(found), None if found is None else found.mean, _hint(row, ACCURACY))


def _difference(row: Row) -> Cell:
    return Cell(columns.difference(row.against), None if row.against is None else row.against.mean)


def _probability(row: Row) -> Cell:
    p = None if row.against is None else row.against.p
    return Cell(columns.probability(p), p)


def _measure(measure: Measure) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        found = row.figures.get(measure.key)
        value = None if found is None else found.mean
        half = columns.half(found) if found is not None and measure.spread else None
        spread = "" if half is None else f" ± {half:.2f}"
        return Cell(measure.form(value) + spread, value, _hint(row, measure))

    return cell


def _hint(row: Row, measure: Measure) -> str:
    found = row.figures.get(measure.key)
    if found is None or found.low is None or found.high is None or found.low == found.high:
        return ""
    return f"95% interval {measure.form(found.low)} to {measure.form(found.high)}, n = {found.n}"


def failure_cells(comparison: Comparison) -> tuple[list[Head], list[list[Any]]]:
    """Every run that could not be carried out, and why: headings and cells."""
    heads = [Head("method", number=False), Head("budget", number=False), Head("seed")]
    heads += [Head("options", number=False), Head("error", number=False)]
    rows: list[list[Any]] = [
        [f.method, f.budget, Cell(str(f.seed), f.seed), written(f.options), f.error] for f in comparison.failures
    ]
    return heads, rows


def failures(comparison: Comparison) -> Html:
    """The same as a table of the page."""
    if not comparison.failures:
        return paragraph("No run failed.", "none")
    heads, rows = failure_cells(comparison)
    shown = [[*rest, Html(f'<span class="error">{escape(error)}</span>')] for *rest, error in rows]
    return sortable(heads, shown, label="failed runs")


def trial_cells(comparison: Comparison) -> tuple[list[Head], list[list[Any]]]:
    """What a search tried: headings and cells, budget by budget, the best first."""
    heads = [
        Head("budget", number=False),
        Head("trial", "from 0"),
        Head("method", number=False),
        Head("options", number=False),
        Head("validation", "accuracy", higher=True),
        Head("outcome", number=False),
    ]
    rows = [
        [
            row.budget,
            Cell(str(row.number), row.number),
            row.method,
            written(row.options),
            Cell(formats.percent(row.validation), row.validation),
            row.error or ("chosen" if row.chosen else ""),
        ]
        for row in comparison.tried
    ]
    return heads, rows


def trials(comparison: Comparison) -> Html:
    """The same as a table of the page."""
    return sortable(*trial_cells(comparison), label="what the search tried", tall=True)


def flipped(comparison: Comparison) -> Html:
    """Changed answers by method, a column a budget."""
    blocks = [block for block in comparison.blocks if block.flipped]
    if not blocks:
        return paragraph("No answers were compared with those of the dense network.", "none")
    order = {method: place for place, method in enumerate(columns.standing(blocks))}
    names = sorted({name for block in blocks for name in block.flipped}, key=lambda n: (order.get(n, len(order)), n))
    heads = [Head("method", number=False), *(Head(block.budget) for block in blocks)]
    rows = [[name, *(_count(block.flipped.get(name)) for block in blocks)] for name in names]
    return sortable(heads, rows, label="changed test examples by method and budget", tall=True)


def _count(value: int | None) -> Cell:
    return Cell(formats.count(value), value)


def href(run: RunRow) -> str:
    """The address of a run's report beside the comparison's page; empty where its folder is not below it."""
    parts = run.folder.split("/")
    inside = run.folder and ".." not in parts and "\\" not in run.folder and not run.folder.startswith("/")
    return f"{quote(run.folder)}/report.html" if inside else ""


def run_table(comparison: Comparison) -> Html:
    """Every finished run. The first column leads to its report, the last holds the command that exports it."""
    there = [m for m in MEASURES if any(getattr(run, m.key) is not None for run in comparison.runs)]
    split = [ACCURACY, Measure("validation", "validation", formats.percent, "accuracy", higher=True)]
    shown = [m for m in split if any(getattr(run, m.key) is not None for run in comparison.runs)] + there
    heads = [
        Head("run", "opens its report", number=False),
        Head("budget", number=False),
        Head("seed"),
        *(Head(m.title, m.note if m is not ACCURACY else "on the test set", higher=m.higher) for m in shown),
        Head("options", number=False),
        Head("export", number=False),
    ]
    return sortable(heads, [_run(run, shown) for run in comparison.runs], label="all runs", tall=True)


def _run(run: RunRow, shown: Sequence[Measure]) -> list[Any]:
    where = href(run)
    name = Html(f'<a href="{escape(where)}">{escape(run.method)}</a>') if where else run.method
    how = Html(f"<details><summary>command</summary><code>{escape(run.command)}</code></details>")
    figures = [(m, getattr(run, m.key)) for m in shown]
    return [
        name,
        run.budget or "whole",
        Cell(str(run.seed), run.seed),
        *(Cell(m.form(value), value) for m, value in figures),
        written(run.options),
        how if run.command else formats.MISSING,
    ]
