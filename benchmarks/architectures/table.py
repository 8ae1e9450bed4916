"""Rows as text and as Markdown; and what rows add up to."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]
# The verdicts that are counted, in the order of the summary; a row's status begins with one of them.
VERDICTS = ("exact", "inexact", "wrong", "error", "nothing", "timeout", "unchecked", "not installed")
REASONS_SHOWN = 4


def verdict(row: Row) -> str:
    return next(v for v in VERDICTS if row["status"].startswith(v))


def counts(rows: Iterable[Row]) -> dict[str, int]:
    found = Counter(verdict(row) for row in rows)
    return {name: found[name] for name in VERDICTS if found[name]}


def reasons(row: Row) -> list[tuple[str, int, list[str]]]:
    """(reason, frozen axes, the axes), most frequent first; where the code stands is not part of a reason."""
    grouped: dict[str, list[str]] = {}
    for reason, places in row.get("reasons", {}).items():
        general = re.sub(r" \(in .*\)$", "", reason)
        grouped.setdefault(general, []).extend(f"{where} ({size})" for where, size in places)
    return sorted(((r, len(p), p) for r, p in grouped.items()), key=lambda group: -group[1])


def share(row: Row, left: str, whole: str) -> str:
    """What is left of what there was, in percent."""
    return f"{100 * row[left] / row[whole]:.1f}%" if left in row and row.get(whole) else ""


def number(row: Row, key: str, form: str) -> str:
    return format(row[key], form) if key in row else ""


def size(row: Row, key: str) -> str:
    """12,345 → 12.3 k."""
    value = row.get(key)
    if value is None:
        return ""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return str(value)


def status(row: Row) -> str:
    short = row["status"].splitlines()[0]
    if short == "wrong" and row.get("refused"):
        short = "wrong, refused by shrink"
    short += ", miscounted" if row.get("predicted") else ""
    return short + (", hardly visible" if row.get("blind") else "")


COLUMNS = ("model", "status", "trace s", "+MB", "params", "left", "MACs", "left", "no axis", "heads", "saved", "uses")


def cells(name: str, row: Row) -> list[str]:
    saved = row.get("saved")
    return [
        name,
        status(row),
        number(row, "trace_s", ".1f"),
        number(row, "trace_mb", ".0f"),
        size(row, "params"),
        share(row, "params_left", "params"),
        size(row, "macs"),
        share(row, "macs_left", "macs"),
        f"{100 * row['untouched']:.1f}%" if "untouched" in row else "",
        number(row, "heads", "d"),
        "" if saved is None else ("yes" if saved == "yes" else "no"),
        uses(row),
    ]


WIDTHS = (34, 26, 8, 5, 7, 7, 7, 7, 8, 6, 6, 5)


def uses(row: Row) -> str:
    """In how many of the ways in which the dense network can be used the cut one can be, too."""
    found = [how for how in row.get("uses", {}).values() if how != "neither"]
    return f"{sum(how == 'yes' for how in found)}/{len(found)}" if found else ""


def line(values: Iterable[str]) -> str:
    """One row of the text table: the first two columns to the left, numbers to the right."""
    out = []
    for index, (value, width) in enumerate(zip(values, WIDTHS)):
        short = value if len(value) <= width else value[: width - 1] + "…"
        out.append(short.ljust(width) if index < 2 else short.rjust(width))
    return " ".join(out).rstrip()


def notes(row: Row) -> list[str]:
    """What a row's cells do not say."""
    out = []
    if verdict(row) in ("error", "timeout", "unchecked"):
        out.append(row.get("why") or row["status"])
    if row.get("refused"):
        out.append(row["refused"])
    out += row.get("predicted", [])
    if row.get("saved", "yes") != "yes":
        out.append(f"not saved without its code: {row['saved']}")
    out += [f"{name}: {how}" for name, how in row.get("uses", {}).items() if how not in ("yes", "neither")]
    return [re.sub(r"\s+", " ", note) for note in out]


def text(name: str, row: Row) -> str:
    """A row of the text table with its reasons below."""
    lines = [line(cells(name, row))]
    lines += [f"    {note[:150]}" for note in notes(row)]
    found = reasons(row)
    for reason, count, places in found[:REASONS_SHOWN]:
        lines.append(f"    {count:4} × {reason}: {places[0]}{', …' if count > 1 else ''}")
    if len(found) > REASONS_SHOWN:
        lines.append(f"         and {len(found) - REASONS_SHOWN} other reasons: --why {name}")
    return "\n".join(lines)


def why(name: str, row: Row) -> str:
    """Every reason with every axis that it holds."""
    lines = [f"{name}: {status(row)}", *notes(row)]
    for reason, places in row.get("reasons", {}).items():
        lines.append(f"{reason}:")
        lines += [f"    {where} ({count})" for where, count in places]
    if row.get("untouched_tensors"):
        lines.append("no axis can be cut of: " + ", ".join(row["untouched_tensors"]))
    return "\n".join(lines)


# -- Markdown ------------------------------------------------------------------------------------------------
def markdown(sides: dict[str, dict[str, Row]], families: dict[str, str], about: list[str]) -> str:
    """The page: a summary, a table for each family, a table of all sides, and what stays whole and why.

    Args:
        sides: side → model → row; Secateurs' own is the first.
        families: model → family.
        about: lines on how the figures were made.
    """
    own = next(iter(sides.values()))
    parts = ["# Architectures", *about, "## Summary", _grid(["library", *VERDICTS, LEFT], _summary(sides))]
    for family in dict.fromkeys(families.values()):
        rows = [cells(name, row) for name, row in own.items() if families[name] == family]
        if rows:
            parts += [f"## {family}", _grid(list(COLUMNS), rows)]
    if len(sides) > 1:
        names = [name for name in families if any(name in rows for rows in sides.values())]
        body = [[name, *[beside(rows.get(name)) for rows in sides.values()]] for name in names]
        parts += ["## Side by side", BESIDE, _grid(["model", *sides], body)]
    parts += ["## What stays whole, and why", WHY]
    for name, row in own.items():
        found = [f"- {note}" for note in notes(row)]
        found += [f"- {count} × {reason}: `{places[0]}`" for reason, count, places in reasons(row)]
        parts.append("\n".join([f"**{name}**", "", *found]))
    return "\n\n".join(parts) + "\n"


LEFT = "median of parameters left, of the exact"
BESIDE = "The verdict, then parameters and MACs that are left, then seconds for analysis and cut."
WHY = "Axes of parameters that cannot be cut, by reason: how many, the first of them, and how many indices it holds."


def _summary(sides: dict[str, dict[str, Row]]) -> list[list[str]]:
    table = []
    for side, rows in sides.items():
        found = counts(rows.values())
        table.append([side, *[str(found.get(name, 0)) for name in VERDICTS], median_left(rows.values())])
    return table


def median_left(rows: Iterable[Row]) -> str:
    """The median share of parameters that is left of the models that came out exact."""
    left = [row["params_left"] / row["params"] for row in rows if verdict(row) == "exact"]
    return f"{100 * statistics.median(left):.0f}%" if left else ""


def beside(row: Row | None) -> str:
    if row is None:
        return ""
    figures = [share(row, "params_left", "params"), share(row, "macs_left", "macs"), number(row, "trace_s", ".1f")]
    label = verdict(row) if verdict(row) != "error" else ":".join(row["status"].split(":")[:2])
    return ", ".join([label, *[f for f in (figures[0], figures[1]) if f], *([figures[2] + " s"] if figures[2] else [])])


def _grid(head: list[str], body: list[list[str]]) -> str:
    def row(values: list[str]) -> str:
        return "| " + " | ".join(value.replace("|", "\\|") for value in values) + " |"

    return "\n".join([row(head), "|" + "---|" * len(head), *[row(values) for values in body]])
