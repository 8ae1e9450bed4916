"""The pages of a reproduction: the same tables as Markdown, for the documentation, and as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..storage import write_text
from .page import Section, page, paragraph
from .tables import Html, pairs, table, tag

_MOODS = {"agrees": "good", "reached": "good", "disagrees": "bad"}


def write_reproduction(result: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Write ``NAME.md`` and ``NAME.html`` into ``folder``.

    Args:
        result: a reproduction page as a dict: name, title, protocol, sections (title, columns, rows, note), provenance,
            quick, warning.
    Returns:
        the two paths.
    """
    folder = Path(folder)
    stem = result["name"] + ("-quick" if result["quick"] else "")
    return [
        write_text(folder / f"{stem}.md", markdown(result)),
        write_text(folder / f"{stem}.html", html(result)),
    ]


def markdown(result: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    parts = [f"# {result['title']}: reproduction", result["warning"], result["protocol"] + "."]
    for section in result["sections"]:
        parts += [f"## {section['title']}", _markdown_table(section["columns"], section["rows"]), section["note"]]
    made = "; ".join(f"{k} {v}" for k, v in result["provenance"].items())
    parts.append(f"Written by `secateurs reproduce {result['name']}`" + (f" ({made})." if made else "."))
    return "\n\n".join(p for p in parts if p) + "\n"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"

    return "\n".join([line(columns), "|" + "---|" * len(columns), *map(line, rows)])


def html(result: Mapping[str, Any]) -> str:
    """The page as one self-contained HTML document."""
    sections = [
        Section(s["title"], [table(s["columns"], [_marked(r) for r in s["rows"]], caption=s["note"])])
        for s in result["sections"]
    ]
    if result["provenance"]:
        sections.append(Section("Provenance", [pairs(result["provenance"])]))
    head = [paragraph(text, "lead") for text in (result["warning"], result["protocol"] + ".") if text]
    eyebrow = ["Secateurs", "reproduction", f"secateurs reproduce {result['name']}"]
    return page(result["title"], head, sections, eyebrow=eyebrow)


def _marked(row: Sequence[str]) -> list[str | Html]:
    return [tag(cell, _MOODS[cell]) if cell in _MOODS else cell for cell in row]
