"""The pages of a reproduction: the same tables and figures as Markdown, for the documentation, and as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..storage import write_text
from . import figures, matrices, plots
from .page import Section, card, page, paragraph
from .tables import Html, pairs, table, tag

_MOODS = {"agrees": "good", "reached": "good", "disagrees": "bad"}


def write_reproduction(result: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Write ``NAME.md`` and ``NAME.html`` into ``folder``, and ``NAME-FIGURE.svg`` for each figure.

    Args:
        result: a reproduction page as a dict: name, title, protocol, sections (title, columns, rows, note, figures;
            see :mod:`.plots` and :mod:`.matrices`), provenance, quick, warning.
    Returns:
        the paths, Markdown and HTML first.
    Raises:
        MissingExtraError: the page has figures and Plotly is not installed.
    """
    folder = Path(folder)
    stem = _stem(result)
    drawn = [f for section in result["sections"] for f in section["figures"]]
    return [
        write_text(folder / f"{stem}.md", markdown(result)),
        write_text(folder / f"{stem}.html", html(result)),
        *(write_text(folder / _picture(stem, f), _svg(f)) for f in drawn),
    ]


def _svg(figure: Mapping[str, Any]) -> str:
    return matrices.svg(figure) if "rows" in figure else plots.svg(figure)


def _chart(figure: Mapping[str, Any]) -> figures.Figure | Html:
    return matrices.picture(figure) if "rows" in figure else plots.chart(figure)


def _stem(result: Mapping[str, Any]) -> str:
    return result["name"] + ("-quick" if result["quick"] else "")


def _picture(stem: str, figure: Mapping[str, Any]) -> str:
    return f"{stem}-{figure['name']}.svg"


def markdown(result: Mapping[str, Any]) -> str:
    """The page as Markdown; its figures are files beside it."""
    stem = _stem(result)
    parts = [f"# {result['title']}: reproduction", result["warning"], result["protocol"] + "."]
    for section in result["sections"]:
        parts.append(f"## {section['title']}")
        if section["rows"]:
            parts.append(_markdown_table(section["columns"], section["rows"]))
        parts.append(section["note"])
        for figure in section["figures"]:
            alt = (figure["alt"] or figure["title"]).replace("[", "(").replace("]", ")")
            parts += [f"![{alt}]({_picture(stem, figure)})", figure["note"]]
    made = "; ".join(f"{k} {v}" for k, v in result["provenance"].items())
    parts.append(f"Written by `secateurs reproduce {result['name']}`" + (f" ({made})." if made else "."))
    return "\n\n".join(p for p in parts if p) + "\n"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"

    return "\n".join([line(columns), "|" + "---|" * len(columns), *map(line, rows)])


def html(result: Mapping[str, Any]) -> str:
    """The page as one self-contained HTML document."""
    sections = [Section(s["title"], [*_table(s), *map(_chart, s["figures"])]) for s in result["sections"]]
    if result["provenance"]:
        sections.append(Section("Provenance", [card(pairs(result["provenance"]))]))
    head = [paragraph(text, "lead") for text in (result["warning"], result["protocol"] + ".") if text]
    eyebrow = ["Secateurs", "reproduction", f"secateurs reproduce {result['name']}"]
    return page(result["title"], head, sections, eyebrow=eyebrow)


def _table(section: Mapping[str, Any]) -> list[Html]:
    """The section's table under its caption; where it has only figures, what stands beside them."""
    if section["rows"]:
        return [card(table(section["columns"], [_marked(r) for r in section["rows"]], caption=section["note"]))]
    return [paragraph(section["note"], "lead")] if section["note"] else []


def _marked(row: Sequence[str]) -> list[str | Html]:
    return [tag(cell, _MOODS[cell]) if cell in _MOODS else cell for cell in row]
