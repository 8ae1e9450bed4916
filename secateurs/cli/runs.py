"""The command that lists runs: parse, call, print."""

from __future__ import annotations

import csv as csv_
import json as json_
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .app import app

if TYPE_CHECKING:
    from rich.table import Table

    from ..compare import Index

SHOWN = ("method", "budget", "seed", "accuracy", "macs", "params", "latency", "folder")  # fits 100 columns
COMMON = ("model", "data", "granularity", "epochs")  # said once where all runs have the same, else columns too
NAMED = 10  # skipped files that are named before the rest is counted
Row = Mapping[str, Any]


@app.command(epilog="Example: `secateurs runs --where \"method='equilibrium' and macs<0.3\" --order 'accuracy desc'`")
def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look for runs, at any depth.")] = Path("runs"),
    where: Annotated[
        str,
        typer.Option(help="An SQL expression over the columns; macs, params, … are fractions of the dense network."),
    ] = "",
    order: Annotated[str, typer.Option(help="Columns to sort by: 'accuracy desc'. By default oldest first.")] = "",
    columns: Annotated[str, typer.Option(help="Which to show, with commas, or all.")] = "",
    limit: Annotated[Optional[int], typer.Option(min=0, help="At most so many runs.")] = None,  # noqa: UP045
    list_columns: Annotated[bool, typer.Option("--list-columns", help="Say what the columns are, and end.")] = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print comma-separated values, by default of all columns.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list, by default of all columns.")] = False,
) -> None:
    """List finished runs, those of comparisons too, by what was measured."""
    from ..compare import Index
    from ..compare.columns import NAMES
    from ..errors import RunError

    if csv and json:
        raise RunError("--csv and --json are two ways to print the same; give one")
    if list_columns:
        _say_columns(csv, json)
        return
    asked = NAMES if columns.strip() == "all" else tuple(name.strip() for name in columns.split(",") if name.strip())
    with Index(folder) as index:
        if csv or json:
            _print_as(index.rows(where, order, limit, asked or NAMES), asked or NAMES, json)
        else:
            _show(index, where, order, limit, asked)
        _name_skipped(index, error=csv or json)


def _print_as(rows: Sequence[Row], columns: Sequence[str], json: bool) -> None:
    if json:
        print(json_.dumps([_decoded(row) for row in rows], indent=2, ensure_ascii=False))
        return
    writer = csv_.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _decoded(row: Row) -> dict[str, Any]:
    """A row as JSON has it: options as an object, infinity as in records."""
    out = {
        k: str(v).replace("inf", "Infinity") if isinstance(v, float) and math.isinf(v) else v for k, v in row.items()
    }
    if "options" in out:
        out["options"] = json_.loads(out["options"])
    return out


def _show(index: Index, where: str, order: str, limit: int | None, asked: Sequence[str]) -> None:
    from rich.markup import escape

    from ..compare.columns import NAMES
    from .tables import console

    rows = index.rows(where, order, limit, tuple(asked) or NAMES)
    screen = console(highlight=False)
    if rows and tuple(asked) == NAMES:
        for row in rows:
            screen.print(_whole(row))
    elif rows:
        common, shown = ([], list(asked)) if asked else _worth_showing(rows)
        screen.print(_table(rows if asked else _named(rows, index), shown, ", ".join(common)))
    found, total = index.count(where), index.count()
    said = f"{found:,} of {total:,} runs" if where.strip() else f"{total:,} runs"
    first = f"; the first {len(rows):,} are shown" if len(rows) < found else ""
    trials = 0 if asked else sum(row["accuracy"] is None for row in rows)
    only = f"; {trials:,} of them trials, which read no test set" if trials else ""
    screen.print(f"{said} in {escape(str(index.folder))}{first}{only}", soft_wrap=True)


def _named(rows: Sequence[Row], index: Index) -> list[Row]:
    """With the method whose networks were trained from scratch."""
    methods = {row["hash"]: row["method"] for row in index.rows(columns=("hash", "method"))}
    return [
        {**row, "method": f"{row['method']}:{methods.get(row['source'], '?')}"} if row["source"] else row
        for row in rows
    ]


def _whole(row: Row) -> Table:
    """Everything about one run, a line each: no terminal is as wide as a row."""
    from .tables import plain_table

    table = plain_table("", "")
    table.show_header = False
    table.columns[1].justify = "left"
    for name, value in row.items():
        table.add_row(name, _cell(value))
    return table


def _worth_showing(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """What all rows have in common, in words, and the columns in which they have something to say."""
    values = {name: {row[name] for row in rows} for name in (*COMMON, *SHOWN)}
    differ = [name for name in COMMON if len(values[name]) > 1]
    common = [
        f"{value} epochs" if name == "epochs" else str(value)
        for name in COMMON
        if name not in differ and (value := rows[0][name]) is not None
    ]
    return common, [*differ, *(name for name in SHOWN if values[name] != {None})]


def _table(rows: Sequence[Row], columns: Sequence[str], title: str) -> Table:
    from rich import box
    from rich.markup import escape

    from .tables import plain_table

    table = plain_table(*columns, title=escape(title) if title else None)
    table.box, table.pad_edge, table.padding = box.SIMPLE_HEAD, False, (0, 1, 0, 0)
    for column in table.columns:
        texts = any(isinstance(row[str(column.header)], str) for row in rows)
        column.justify = "left" if texts else "right"
        # Of what is too wide, paths and options break; numbers and names of methods do not.
        column.no_wrap = not texts or column.header in ("method", "budget")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    return table


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def _say_columns(csv: bool, json: bool) -> None:
    from rich.markup import escape

    from ..compare.columns import COLUMNS
    from .tables import console, plain_table

    if csv or json:
        _print_as(
            [{"column": c.name, "kind": c.kind, "text": c.text} for c in COLUMNS], ("column", "kind", "text"), json
        )
        return
    table = plain_table("column", "kind", "")
    for column in table.columns[1:]:
        column.justify = "left"
    for c in COLUMNS:
        table.add_row(c.name, c.kind, escape(c.text.replace("`", "")))
    console().print(table)


def _name_skipped(index: Index, *, error: bool) -> None:
    """Files that are no readable records; beside data, on standard error."""
    from rich.markup import escape

    from .tables import console

    skipped = index.skipped
    screen = console(highlight=False, soft_wrap=True, stderr=error)
    for file, reason in list(skipped.items())[:NAMED]:
        screen.print(f"skipped {escape(file)}: {escape(reason)}")
    if len(skipped) > NAMED:
        screen.print(f"skipped {len(skipped) - NAMED:,} more")
