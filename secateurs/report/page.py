"""The shell of every page: one HTML file with its style, its charts and the chart library inside.

Nothing is fetched: a content security policy in the page forbids it. Plotly's JavaScript travels once,
gzipped, and the page unpacks it on opening, which makes a file of 2 MB instead of 5.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import require
from ..storage import write_text
from .figures import Figure
from .tables import Html, escape

# 'unsafe-inline' is the page's own script and style; no host is allowed anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'{more}; img-src data: blob:"
LIBRARY_FILE = "plotly.js"


@dataclass(frozen=True)
class Section:
    """A part of a page: its heading (``short`` in the navigation) and what stands under it, in order."""

    title: str
    body: Sequence[Html | Figure]
    short: str = ""

    @property
    def anchor(self) -> str:
        """The section's address within the page."""
        return "".join(c if c.isalnum() else "-" for c in (self.short or self.title).lower()).strip("-")


def page(
    title: str,
    head: Iterable[Html],
    sections: Sequence[Section],
    *,
    eyebrow: Sequence[str] = (),
    library: str | None = None,
    extra: str = "",
) -> str:
    """A whole HTML document.

    Args:
        title: the page's first sentence, also the window's title.
        head: what stands between the title and the navigation, such as :func:`tiles`.
        sections: the parts, each a heading, a navigation entry and its content.
        eyebrow: small facts above the title; the first is emphasised.
        library: where :func:`write_library` put the chart library, as a path from the page; None: inside the page.
        extra: name of a further style and script, ``NAME.css`` and ``NAME.js`` of this package, for this kind of page.
    Raises:
        MissingExtraError: Plotly is not installed (needed only when a section holds a figure).
    """
    small = "".join(f"<b>{escape(t)}</b>" if i == 0 else f"<span>{escape(t)}</span>" for i, t in enumerate(eyebrow))
    links = "".join(f'<li><a href="#{s.anchor}">{escape(s.short or s.title)}</a></li>' for s in sections)
    body = "".join(_section(s) for s in sections)
    drawn = 'class="chart"' in body or any('class="chart"' in part for part in head)
    drawing = ("" if not drawn else _library()) if library is None else f'<script src="{escape(library)}"></script>\n'
    whole = "This file is complete: it fetches nothing." if library is None else f"Its charts need {library} beside it."
    policy = _POLICY.format(more="" if library is None else " 'self' file:")
    # The page's own script comes first: it prepares the charts that the next one draws.
    scripts = _asset(f"{extra}.js") if extra else ""
    scripts += _asset("charts.js") + (_asset("network.js") if 'class="card net"' in body else "")
    style = _asset("page.css") + (_asset(f"{extra}.css") if extra else "")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,">'
        f"<style>\n{style}</style></head>\n<body>"
        f'<header class="top"><p class="eyebrow">{small}</p><h1>{escape(title)}</h1>'
        f"{''.join(head)}</header>\n"
        f'<nav aria-label="sections"><ul>{links}</ul></nav>\n<main>{body}</main>\n'
        f"<footer>Made by Secateurs from records alone. {escape(whole)}</footer>\n"
        f"{drawing}<script>\n{scripts}</script></body></html>\n"
    )


def paragraph(text: str, kind: str = "") -> Html:
    """A paragraph; kind ``lead`` introduces a section, ``none`` says that there is nothing to show."""
    return Html(f'<p class="{escape(kind)}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>")


def card(*parts: Html, kind: str = "") -> Html:
    """A framed box around some parts."""
    return Html(f'<div class="card {escape(kind)}">{"".join(parts)}</div>')


def titled(title: str, *parts: Html) -> Html:
    """A card with a heading."""
    return card(Html(f"<h3>{escape(title)}</h3>"), *parts)


def grid(*parts: Html | Figure) -> Html:
    """Parts side by side where the screen is wide enough, else one below another."""
    return Html(f'<div class="grid">{"".join(_part(p) for p in parts)}</div>')


def tiles(entries: Iterable[tuple[str, str, str]]) -> Html:
    """The few figures that matter most: (label, value, detail) each. ``2.1× faster`` shows its word small."""
    made = []
    for label, value, detail in entries:
        first, _, rest = value.partition(" ")
        unit = f" <small>{escape(rest)}</small>" if rest else ""
        made.append(
            f'<div class="tile"><div class="label">{escape(label)}</div>'
            f'<div class="value">{escape(first)}{unit}</div>'
            f'<div class="detail">{escape(detail)}</div></div>'
        )
    return Html(f'<div class="tiles">{"".join(made)}</div>')


def figure(drawn: Figure) -> Html:
    """A chart with its title and caption; its specification stands beside it as inert JSON."""
    spec = json.dumps(
        {"data": drawn.data, "layout": drawn.layout},
        allow_nan=False,
        ensure_ascii=False,
        separators=(",", ":"),
    )
    caption = f"<figcaption>{escape(drawn.caption)}</figcaption>" if drawn.caption else ""
    return Html(
        f"<figure><h3>{escape(drawn.title)}</h3>"
        f'<div class="chart" role="img" aria-label="{escape(drawn.alt)}" style="height:{drawn.height}px">'
        "</div>"
        # '<' is the only character by which text could leave a script element.
        f'<script type="application/json">{spec.replace("<", chr(92) + "u003c")}</script>{caption}</figure>'
    )


def _part(part: Html | Figure) -> str:
    return figure(part) if isinstance(part, Figure) else part


def _section(section: Section) -> str:
    inner = "".join(_part(part) for part in section.body)
    return f'<section id="{section.anchor}"><h2>{escape(section.title)}</h2>{inner}</section>\n'


def _asset(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def write_library(folder: str | Path) -> Path:
    """Put the chart library into a folder, for many pages to share; it is left alone where it lies there.

    Raises:
        MissingExtraError: Plotly is not installed.
    """
    path = Path(folder) / LIBRARY_FILE
    return path if path.exists() else write_text(path, require("plotly.offline", "report").get_plotlyjs())


@functools.lru_cache(maxsize=1)
def _library() -> str:
    source = require("plotly.offline", "report").get_plotlyjs()
    packed = base64.b64encode(gzip.compress(source.encode(), 9, mtime=0)).decode()
    note = "<!-- plotly.js (MIT licence, Plotly Inc.), gzipped -->"
    fallback = "<noscript><p>The charts need JavaScript; the tables do not.</p></noscript>"
    return f'{note}<script type="application/octet-stream" id="plotly-source">{packed}</script>{fallback}\n'
