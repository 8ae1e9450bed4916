"""What a terminal shows of a comparison: a table and a sentence for every budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from ..records import Block, Comparison, Difference, Estimate, Failure, Row
from ..spec import written
from .tables import console, plain_table


def comparison(found: Comparison, files: Sequence[Path], *, made: int, before: int) -> None:
    """The tables at the end of ``compare``.

    Args:
        files: that were written. made: runs that this command made. before: runs that were there.
    """
    out = console()
    if found.tried:
        out.print(_tried(found))
        most = max(Counter(row.budget for row in found.tried).values())
        if most <= len({row.method for row in found.tried}):
            out.print("no method was tried with more than its defaults; --trials makes more", highlight=False)
    if found.dense is not None:
        figures = found.dense.figures
        took = f", {_figure(figures['latency_ms'], ' ms')}" if "latency_ms" in figures else ""
        out.print(f"dense: {_percent(figures.get('accuracy'))} test accuracy{took}", highlight=False)
    for block in found.blocks:
        out.print(_table(block, found))
        out.print(escape(block.sentence), highlight=False)
    if len(found.seeds) > 1:
        out.print("± is half of the 95% interval over seeds; differences are paired by seed", highlight=False)
    if found.failures:
        out.print(_failures(found))
    if found.missing:
        out.print(f"{found.missing} runs are still to be made; the same command makes them", highlight=False)
    out.print(f"{made:,} runs were made, {before:,} were there", highlight=False)
    out.print("wrote " + ", ".join(escape(str(path)) for path in files), highlight=False, soft_wrap=True)


def _table(block: Block, found: Comparison) -> Table:
    columns = (
        "method",
        "test accuracy",
        f"against {found.against}",
        "MACs",
        "parameters",
        "latency / dense",
        "seconds",
        "runs",
    )
    table = plain_table(*columns, title=block.budget)
    for row in block.rows:
        f = row.figures
        table.add_row(
            escape(row.method) + (" *" if row.method == block.winner else ""),
            _percent(f.get("accuracy")),
            _difference(row.against),
            _amount(f.get("macs")),
            _amount(f.get("params")),
            _ratio(f.get("latency")),
            _figure(f.get("seconds"), " s"),
            _runs(row, len(found.seeds)),
            style="dim" if row.role == "control" else None,
        )
    return table


def _tried(found: Comparison) -> Table:
    table = plain_table("trial", "budget", "method", "options", "validation", title="what the search tried")
    for column in table.columns[1:4]:
        column.justify = "left"
    for row in found.tried:
        reached = (
            f"failed: {row.error}" if row.error else "–" if row.validation is None else f"{100 * row.validation:.2f}"
        )
        style = "bold" if row.chosen else None
        number = f"{row.number}" + (" *" if row.chosen else "")
        table.add_row(
            number, row.budget, escape(row.method), escape(written(row.options)), escape(reached), style=style
        )
    return table


def _runs(row: Row, seeds: int) -> str:
    n = len(row.runs)
    return (f"{n} of {seeds}" if n < seeds else f"{n}") + (f", {row.failed} failed" if row.failed else "")


def _percent(found: Estimate | None) -> str:
    return _ratio(found, 100)


def _ratio(found: Estimate | None, unit: float = 1) -> str:
    """The mean and half of its interval."""
    if found is None:
        return "–"
    return f"{unit * found.mean:.2f}" + ("" if found.high is None else f" ± {unit * (found.high - found.mean):.2f}")


def _difference(found: Difference | None) -> str:
    if found is None:
        return ""
    spread = "" if found.low is None or found.high is None else f" [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"
    return escape(f"{100 * found.mean:+.2f}{spread}")


def _amount(found: Estimate | None) -> str:
    return "–" if found is None else f"{found.mean:,.0f}"


def _figure(found: Estimate | None, unit: str) -> str:
    return "–" if found is None else f"{found.mean:,.3g}{unit}"


def _failures(found: Comparison) -> Table:
    table = plain_table("failed", "budget", "seed", "why")
    table.columns[-1].justify = "left"
    said: dict[tuple[str, str], list[Failure]] = {}
    for failure in found.failures:
        said.setdefault((failure.method, failure.error), []).append(failure)
    for (method, error), runs in said.items():
        first = runs[0]
        where = f"{first.seed}" + (f" with {written(first.options)}" if first.options else "")
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        table.add_row(escape(method), first.budget, escape(where + more), escape(error))
    return table
