"""What a terminal shows: Rich tables of records and findings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..records import Measured, Record

WIDE = 160  # columns of a file or a pipe, which have no width of their own


def console(**settings: Any) -> Console:
    """Standard output; where that is no terminal, wide enough for names to stay whole."""
    console = Console(**settings)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console


def plain_table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    return table


def _number(value: float | int | None, unit: str = "") -> str:
    if value is None:
        return "–"
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"
    return text + unit


def summary(record: Record, out: Path) -> None:
    """The table at the end of ``prune``: dense | pruned."""
    table = plain_table("", "dense", "pruned", "ratio", title=f"{record.model} on {record.data}, {record.method}")
    dense, pruned = record.dense, record.pruned

    def percent(m: Measured) -> str:
        return "–" if m.accuracy is None else f"{100 * m.accuracy:.2f}%"

    table.add_row("test accuracy", percent(dense), percent(pruned), "")
    table.add_row(
        "groups",
        _number(record.groups_total),
        _number(record.groups_kept),
        _ratio(record.groups_total, record.groups_kept),
    )
    for label, field in (("parameters", "params"), ("MACs", "macs"), ("file size, bytes", "file_bytes")):
        a, b = getattr(dense, field), getattr(pruned, field)
        table.add_row(label, _number(a), _number(b), _ratio(a, b))
    a, b = dense.latency_ms, pruned.latency_ms
    table.add_row(f"latency, batch {record.batch_latency}", _number(a, " ms"), _number(b, " ms"), _ratio(a, b))
    screen = console()
    screen.print(table)
    if record.recovery:
        screen.print(_repairs(record))
    if record.certificate is not None:
        screen.print(escape(record.certificate.sentence), highlight=False)
    for note in record.notes:
        screen.print(f"note: {escape(note)}", highlight=False)
    files = ", ".join(escape(str(out / name)) for name in record.files.values())
    screen.print(f"wrote {files}", highlight=False, soft_wrap=True)


def _repairs(record: Record) -> Table:
    """What each repair after the cut gave."""
    table = plain_table("recovery", "validation accuracy", "seconds", "")
    for row in record.recovery:
        taken = _number(row.seconds) if row.seconds else ""
        kept = "kept" if row is record.repaired else ""
        table.add_row(escape(row.label), f"{100 * row.accuracy:.2f}%", taken, kept)
    return table


def _ratio(a: float | None, b: float | None) -> str:
    return f"{a / b:.2f}×" if a and b else ""


def inspection(found: Mapping[str, Any]) -> None:
    """Players, ties and frozen axes."""
    screen = console()
    table = plain_table("layer", "kind", "players", "params each", "MACs each", "cut together", title=found["model"])
    table.columns[-1].justify = "left"
    for row in found["layers"]:
        table.add_row(
            escape(row["name"]),
            row["kind"],
            _number(row["players"]),
            _number(row["params_each"]),
            _number(row["macs_each"]),
            escape(_few(row["tied_to"]) if row["kind"] == "block" else _modules(row["tied_to"])),
        )
    screen.print(table)
    if found["frozen_by_reason"]:
        frozen = plain_table("cannot be pruned, for", "size", "where")
        frozen.columns[-1].justify = "left"
        for row in found["frozen_by_reason"]:
            frozen.add_row(escape(row["reason"]), _number(row["size"]), escape(_few(row["where"])))
        screen.print(frozen)
    total = found["totals"]
    screen.print(
        f"{total['groups']:,.0f} players; {total['params']:,.0f} parameters, {total['macs']:,.0f} MACs; "
        f"smallest reachable: {total['least_params']:,.0f} parameters, {total['least_macs']:,.0f} MACs"
    )


def reasons(answers: Sequence[Mapping[str, Any]]) -> None:
    """Chains of operators, one a line however long: a terminal wraps them, a pipe gets them whole."""
    screen = console(highlight=False, soft_wrap=True)
    for answer in answers:
        screen.print(escape(answer["text"]))


def _modules(places: Sequence[str], most: int = 6) -> str:
    """Places that are cut together, by module: the first few, and how many more."""
    names: dict[str, None] = {}
    for place in places:
        tensor, _, side = place.partition("[")
        module = tensor.rpartition(".")[0] or tensor
        names[f"{module} (inputs)" if side.startswith("in") else module] = None
    return _few(list(names), most)


def _few(names: Sequence[str], most: int = 6) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more (--json names all)" if rest > 0 else "")


def benchmark(found: Mapping[str, Any]) -> None:
    """Dense against pruned, with spread and circumstances."""
    title = (
        f"batch {found['batch']}, {found['threads']} thread(s), {found['engine']}, {found['repeats']} interleaved pairs"
    )
    table = plain_table("", "median", "quartiles", title=title)
    for name in ("dense", "pruned"):
        row = found[name]
        table.add_row(name, f"{row['median_ms']:.4g} ms", f"{row['q25_ms']:.4g} – {row['q75_ms']:.4g} ms")
    screen = console()
    screen.print(table)
    ratio, (low, high) = found["speedup"], found["speedup_quartiles"]
    speed = f"{ratio:.2f}× faster" if ratio >= 1 else f"{1 / ratio:.2f}× slower"
    screen.print(
        f"{speed} (dense over pruned, pair by pair: {ratio:.2f}, quartiles {low:.2f}–{high:.2f}); "
        f"MACs {found['macs_ratio']:.2f}× fewer"
    )
    if found["note"]:
        screen.print(found["note"], highlight=False)


def method_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """The registry."""
    table = plain_table("method", "what it does", "source", "cost", "needs")
    for column in table.columns[1:]:
        column.justify = "left"
    for row in rows:
        table.add_row(*(escape(row[k]) for k in ("name", "summary", "source", "cost", "needs")))
    screen = console()
    screen.print(table)
    if len(rows) > 1:
        screen.print("options of one: secateurs methods NAME; set them with --set NAME=VALUE", highlight=False)


def recovery_table(rows: Sequence[Mapping[str, Any]], ladder: Sequence[str]) -> None:
    """The repairs, and those that ``auto`` tries."""
    table = plain_table("recovery", "what it does", "source", "cost")
    for column in table.columns[1:]:
        column.justify = "left"
    for row in rows:
        table.add_row(*(escape(row[k]) for k in ("name", "summary", "source", "cost")))
    screen = console(highlight=False)
    screen.print(table)
    screen.print(f"auto tries {', then '.join(map(escape, ladder))}; the training that is left comes last")
    screen.print("ask with secateurs prune --recovery NAME,NAME or --recovery auto")


def option_table(options: Mapping[str, Mapping[str, Any]]) -> None:
    """What one method can be told."""
    table = plain_table("option", "default", "")
    for column in table.columns[1:]:
        column.justify = "left"
    for name, option in options.items():
        default, text = option["default"], option["text"].replace("``", "")
        table.add_row(name, "" if default in (None, ()) else json.dumps(default), escape(text))
    screen = console()
    screen.print(table)
    screen.print("set them with --set NAME=VALUE; durations are fractions of all steps", highlight=False)


def reproduction(result: Mapping[str, Any], paths: Sequence[Path]) -> None:
    """The tables of a reproduction, as its page has them."""
    screen = console()
    for section in result["sections"]:
        if not section["rows"]:
            continue
        shown = section["brief"] or range(len(section["columns"]))
        table = plain_table(*(section["columns"][i] for i in shown), title=section["title"])
        for row in section["rows"]:
            table.add_row(*(escape(str(row[i])) for i in shown))
        screen.print(table)
    if result["warning"]:
        screen.print(result["warning"], highlight=False)
    screen.print("wrote " + ", ".join(map(str, paths)), highlight=False, soft_wrap=True)
