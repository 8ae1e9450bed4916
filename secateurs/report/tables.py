"""Tables as HTML: escaped cells, row headers, numbers to the right, sideways scrolling on narrow screens."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import formats


class Html(str):
    """Text that is HTML already. Everything else is escaped on its way into a page."""

    __slots__ = ()


def escape(value: Any) -> Html:
    """``value`` as safe HTML; :class:`Html` passes unchanged."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


@dataclass(frozen=True)
class Column:
    """A column's heading, a smaller note under it, its alignment, and whether it is the one to look at.

    ``aside``: not shown on narrow screens, which must show it elsewhere.
    """

    title: str
    note: str = ""
    align: str = "right"
    strong: bool = False
    aside: bool = False


def table(columns: Sequence[Column | str], rows: Iterable[Sequence[Any]], *, caption: str = "") -> Html:
    """A table whose first column names the row.

    Args:
        columns: headings; a plain string is a right-aligned column (left for the first).
        rows: cells, one per column; strings are escaped, ``Html`` is not, ``None`` shows as a dash.
        caption: what the table says, read by everyone.
    """
    heads = [
        c if isinstance(c, Column) else Column(c, align="left" if i == 0 else "right") for i, c in enumerate(columns)
    ]
    top = "".join(f'<th scope="col" class="{_classes(c)}">{escape(c.title)}{_note(c.note)}</th>' for c in heads)
    body = "".join(f"<tr>{_row(heads, row)}</tr>" for row in rows)
    label = escape(caption or "table")
    # The scrolling box takes the focus, so that the keyboard can scroll it.
    return Html(
        f'{_caption(caption)}<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def pairs(entries: Mapping[str, Any], *, caption: str = "") -> Html:
    """A two-column table of names and values."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="left">{_cell(value)}</td></tr>'
        for name, value in entries.items()
    )
    return Html(f'{_caption(caption)}<div class="scroll"><table class="pairs"><tbody>{rows}</tbody></table></div>')


@dataclass(frozen=True)
class Bar:
    """One row of :func:`bars`: ``kept`` of ``total``, both counts, and a remark under the name."""

    name: str
    total: int
    kept: int
    remark: str = ""


def bars(rows: Sequence[Bar], *, caption: str) -> Html:
    """Kept inside total, one bar a row, all on one scale. Plain HTML: it bears many rows and long names."""
    widest = max((row.total for row in rows), default=0) or 1
    body = "".join(
        f'<tr><th scope="row">{escape(row.name)}{_note(row.remark)}</th>'
        f'<td class="bar"><div class="total" style="width:{100 * row.total / widest:.2f}%">'
        f'<div class="kept" style="width:{100 * row.kept / max(row.total, 1):.2f}%"></div></div></td>'
        f"<td><b>{formats.count(row.kept)}</b> of {formats.count(row.total)}</td>"
        f'<td class="share">{formats.percent(row.kept / max(row.total, 1), 1)}</td></tr>'
        for row in rows
    )
    return Html(
        f'{_caption(caption)}<table class="bars"><colgroup><col class="name"><col><col class="count">'
        '<col class="share"></colgroup><thead><tr><th scope="col">layer</th><th></th>'
        '<th scope="col">kept</th><th scope="col" class="share">share</th></tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def tag(text: str, mood: str = "plain") -> Html:
    """A small mark, for verdicts: mood ``good``, ``bad`` or ``plain``. The text carries the meaning."""
    return Html(f'<span class="tag {escape(mood)}">{escape(text)}</span>')


def _caption(text: str) -> str:
    # Outside the scrolling box: a caption must be read whole whatever part of the table is in sight.
    return f'<p class="caption">{escape(text)}</p>' if text else ""


def _row(heads: Sequence[Column], row: Sequence[Any]) -> str:
    first, *rest = row
    cells = "".join(f'<td class="{_classes(c)}">{_cell(value)}</td>' for c, value in zip(heads[1:], rest, strict=True))
    return f'<th scope="row">{_cell(first)}</th>{cells}'


def _cell(value: Any) -> Html:
    return escape(formats.MISSING if value is None or value == "" else value)


def _note(text: str) -> str:
    return f'<span class="note">{escape(text)}</span>' if text else ""


def _classes(column: Column) -> str:
    return column.align + (" strong" if column.strong else "") + (" aside" if column.aside else "")
