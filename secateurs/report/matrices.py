"""Matrices as panels of shaded cells, rows of panels below one another: a small SVG, for a page and for Markdown alike.

The data are a dict: name, title, rows (of a name and panels, each of a name and values as a list of lists), note, alt.
A cell is as opaque as its value's magnitude, from 0 to 1: no scale of colours is needed, and the reader's theme holds.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from .tables import Html, escape

WIDTH = 760
_LEFT, _RIGHT, _TOP, _GAP, _LABEL = 140, 738, 62, 16, 20  # a row's panels start at _LEFT, its names stand before it


def svg(given: Mapping[str, Any]) -> str:
    """The panels as an SVG document 760 wide."""
    rows = given["rows"]
    cell = min(_cell(row) for row in rows)
    parts, top = [], float(_TOP)
    for row in rows:
        drawn, height = _row(row, cell, top)
        parts.append(drawn)
        top += height + _GAP
    height = round(top + 8)
    title, alt = escape(given["title"]), escape(given["alt"] or given["title"])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{alt}"><title>{alt}</title><style>{_STYLE}</style>'
        f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="12"/>'
        f'<text class="ink head" x="22" y="30">{title}</text>{"".join(parts)}</svg>\n'
    )


def picture(given: Mapping[str, Any]) -> Html:
    """The panels in a page: an image, so that the SVG's style stays within it."""
    data = base64.b64encode(svg(given).encode()).decode()
    alt = escape(given["alt"] or given["title"])
    caption = f"<figcaption>{escape(given['note'])}</figcaption>" if given["note"] else ""
    return Html(
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{alt}" style="max-width:100%;height:auto">'
        f"{caption}</figure>"
    )


_STYLE = (
    ".card{fill:#fff;stroke:#dde2dd}.ink{fill:#1b211d}.muted{fill:#5a645d}.frame{fill:none;stroke:#b9c2bb}"
    ".cell{fill:#0b62a8}"
    'text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-size:12px}'
    ".head{font-size:14.5px;font-weight:600}.mid{text-anchor:middle}"
    "@media (prefers-color-scheme:dark){.card{fill:#1a201d;stroke:#343d38}.ink{fill:#e7ece8}.muted{fill:#a3aea7}"
    ".frame{stroke:#4a544e}.cell{fill:#6cb4f5}}"
)


def _cell(row: Mapping[str, Any]) -> float:
    """The side of a cell at which a row's panels fill the width, at most 22."""
    columns = sum(len(panel["values"][0]) for panel in row["panels"])
    return min(22.0, (_RIGHT - _LEFT - _GAP * (len(row["panels"]) - 1)) / columns)


def _row(row: Mapping[str, Any], cell: float, top: float) -> tuple[str, float]:
    """A row's drawing, and its height."""
    tallest = max(len(panel["values"]) for panel in row["panels"]) * cell
    out = [f'<text class="ink" x="22" y="{top + _LABEL + tallest / 2:.1f}">{escape(row["name"])}</text>']
    left = float(_LEFT)
    for panel in row["panels"]:
        values = panel["values"]
        width, height = len(values[0]) * cell, len(values) * cell
        out.append(
            f'<text class="muted mid" x="{left + width / 2:.1f}" y="{top + 12:.1f}">{escape(panel["name"])}</text>'
        )
        out.append(_cells(values, cell, left, top + _LABEL))
        out.append(
            f'<rect class="frame" x="{left:.1f}" y="{top + _LABEL:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        )
        left += width + _GAP
    return "".join(out), _LABEL + tallest


def _cells(values: Sequence[Sequence[float]], cell: float, left: float, top: float) -> str:
    out = []
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            shade = min(1.0, abs(value))
            if shade >= 0.005:
                place = f'x="{left + j * cell:.1f}" y="{top + i * cell:.1f}" width="{cell:.1f}" height="{cell:.1f}"'
                out.append(f'<rect class="cell" {place} opacity="{shade:.2f}"/>')
    return "".join(out)
