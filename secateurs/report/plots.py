"""A figure of a reproduction, given as data, drawn twice: for the page, and as a small SVG for a Markdown file.

The data are a dict: name, title, x, y (what the axes say), series (name, x, y, low, high, dashed, points), log_x,
log_y, percent_x, percent_y, note, alt; the SVG knows series that are ``grey`` and ``dotted`` too, which need not say
so. It follows the reader's theme by itself, also inside an <img>.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import figures
from .tables import escape

WIDTH, HEIGHT = 760, 340
_LEFT, _RIGHT, _BOTTOM = 74, 738, 284
_LIGHT = ("#0b62a8", "#c2570c", "#00795c", "#9a3f8f", "#86690a", "#3f86b8")
_DARK = ("#6cb4f5", "#f59a57", "#4fcfa6", "#dd94d4", "#e2c658", "#a5d3f2")
_COLOURS = len(_LIGHT)


def chart(given: Mapping[str, Any]) -> figures.Figure:
    """The figure as the page draws it."""

    def shown(values: Sequence[float | None]) -> Sequence[float | None]:
        """Plotly draws a line to nowhere where a logarithm does not exist."""
        return [v if v is None or not given["log_y"] or v > 0 else None for v in values]

    series = [
        figures.Series(
            s["name"],
            s["x"],
            shown(s["y"]),
            figures.CYCLE[i % _COLOURS],
            "dash" if s["dashed"] else "solid",
            band=None if s["low"] is None else (shown(s["low"]), shown(s["high"])),
            points=s["points"],
        )
        for i, s in enumerate(given["series"])
    ]
    x = figures.Axis(given["x"], given["percent_x"], given["log_x"], extra=_spacing(given, "x"))
    y = figures.Axis(given["y"], given["percent_y"], given["log_y"], extra=_spacing(given, "y"))
    alt = given["alt"] or given["title"]
    return figures.lines(given["title"], series, x, y, alt=alt, caption=given["note"], height=340)


def _spacing(given: Mapping[str, Any], axis: str) -> dict[str, Any]:
    """Where a logarithmic axis spans many decades, marks at whole ones only, and not at all of them."""
    if not given[f"log_{axis}"]:
        return {}
    values = [v for s in given["series"] for v in s[axis] if v is not None and math.isfinite(v) and v > 0]
    decades = math.log10(max(values) / min(values)) if values else 0.0
    return {"dtick": math.ceil(decades / 7)} if decades > 3 else {}


def svg(given: Mapping[str, Any]) -> str:
    """The figure as an SVG document 760 wide."""
    series = given["series"]
    legend, top = _legend(series)
    xs = [v for s in series for v in s["x"]]
    ys = [v for s in series for k in ("y", "low", "high") for v in s[k] or ()]
    x = _scale(xs, given["log_x"], given["percent_x"], (_LEFT, _RIGHT))
    y = _scale(ys, given["log_y"], given["percent_y"], (_BOTTOM, top))
    drawn = "".join(_band(s, i, x, y) for i, s in enumerate(series) if s["low"] is not None)
    drawn += "".join(_line(s, i, x, y) for i, s in enumerate(series))
    title, alt = escape(given["title"]), escape(given["alt"] or given["title"])
    middle = (top + _BOTTOM) / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-label="{alt}"><title>{alt}</title><style>{_style()}</style>'
        f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="12"/>'
        f'<text class="ink head" x="22" y="30">{title}</text>{legend}{_axes(x, y, top)}{drawn}'
        f'<text class="muted mid" x="{(_LEFT + _RIGHT) / 2:.0f}" y="{HEIGHT - 14}">{escape(given["x"])}</text>'
        f'<text class="muted mid" transform="translate(20 {middle:.0f}) rotate(-90)">{escape(given["y"])}</text>'
        "</svg>\n"
    )


def _style() -> str:
    def colours(shades: Sequence[str]) -> str:
        return "".join(f".s{i}{{stroke:{c}}}.f{i}{{fill:{c}}}" for i, c in enumerate(shades))

    return (
        ".card{fill:#fff;stroke:#dde2dd}.ink{fill:#1b211d}.muted{fill:#5a645d}.rule{stroke:#dde2dd}"
        'text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-size:12px}'
        ".head{font-size:14.5px;font-weight:600}.end{text-anchor:end}.mid{text-anchor:middle}"
        ".line{fill:none;stroke-width:2;stroke-linejoin:round}.dashed{stroke-dasharray:6 4}"
        ".dotted{stroke-dasharray:2 4}.band{opacity:.16}.sg{stroke:#78827b}.fg{fill:#78827b}"
        + colours(_LIGHT)
        + "@media (prefers-color-scheme:dark){.card{fill:#1a201d;stroke:#343d38}.ink{fill:#e7ece8}.muted{fill:#a3aea7}"
        + f".rule{{stroke:#343d38}}{colours(_DARK)}}}"
    )


@dataclass(frozen=True)
class _Scale:
    """From values to places on the picture, and the values that are marked."""

    low: float
    high: float
    log: bool
    span: tuple[float, float]
    ticks: Sequence[float]
    percent: bool

    def __call__(self, value: float) -> float:
        v = math.log10(value) if self.log else value
        return self.span[0] + (v - self.low) / (self.high - self.low) * (self.span[1] - self.span[0])

    def holds(self, value: float | None) -> bool:
        return value is not None and math.isfinite(value) and (not self.log or value > 0)

    def labels(self) -> list[str]:
        """The ticks in as few digits as keep them apart."""
        tried = ([_label(t, digits, self.percent) for t in self.ticks] for digits in range(3, 16))
        return next((t for t in tried if len(set(t)) == len(t)), [f"{t!r}" for t in self.ticks])


def _label(value: float, digits: int, percent: bool) -> str:
    if percent:
        return f"{100 * value:.{digits}g}%"
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{value:,.{digits if abs(value) < 1000 else digits + 3}g}"
    return f"{value:.{digits - 3}e}"


def _scale(values: Sequence[float | None], log: bool, percent: bool, span: tuple[float, float]) -> _Scale:
    """A scale around what is finite; 0 to 1 where nothing is."""
    known = [v for v in values if v is not None and math.isfinite(v) and (not log or v > 0)]
    placed = [math.log10(v) for v in known] if log else known
    low, high = (min(placed), max(placed)) if placed else (0.0, 1.0)
    room = 0.04 * (high - low) if high > low else max(abs(high), 1.0) * 0.1
    low, high = low - room, high + room
    ticks = [10.0**t for t in _decades(low, high)] if log else _round(low, high)
    return _Scale(low, high, log, span, ticks, percent)


def _decades(low: float, high: float) -> list[float]:
    """Exponents of ten; between few of them also those of 2 and 5, across many only every so manyth."""
    first, last = math.ceil(low), math.floor(high)
    whole = list(range(first, last + 1))
    if len(whole) >= 3:
        return [float(t) for t in whole[:: math.ceil(len(whole) / 7)]]
    finer = [t + math.log10(m) for t in range(first - 1, last + 1) for m in (1, 2, 5)]
    inside = [t for t in finer if low <= t <= high]
    return inside if len(inside) >= 2 else [math.log10(t) for t in _round(10**low, 10**high) if t > 0]


def _round(low: float, high: float) -> list[float]:
    """Three to six round numbers."""
    step = 10.0 ** math.floor(math.log10(high - low))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if (high - low) / s <= 6)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _axes(x: _Scale, y: _Scale, top: float) -> str:
    out = []
    for tick, label in zip(y.ticks, y.labels()):
        at = y(tick)
        out.append(f'<line class="rule" x1="{_LEFT}" x2="{_RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        out.append(f'<text class="muted end" x="{_LEFT - 7}" y="{at + 4:.1f}">{label}</text>')
    for tick, label in zip(x.ticks, x.labels()):
        at = x(tick)
        out.append(f'<line class="rule" x1="{at:.1f}" x2="{at:.1f}" y1="{_BOTTOM}" y2="{_BOTTOM + 5}"/>')
        out.append(f'<text class="muted mid" x="{at:.1f}" y="{_BOTTOM + 19}">{label}</text>')
    out.append(f'<line class="rule" x1="{_LEFT}" x2="{_RIGHT}" y1="{_BOTTOM}" y2="{_BOTTOM}"/>')
    return "".join(out)


def _legend(series: Sequence[Mapping[str, Any]]) -> tuple[str, float]:
    """Names of the lines in rows under the title, and where the chart begins below them."""
    if len(series) < 2:
        return "", 48
    out, left, top = [], 22.0, 52
    for i, s in enumerate(series):
        name, colour = s["name"], _colour(s, i)
        width = 44 + 6.9 * len(name)
        if left + width > WIDTH - 10 and left > 22:
            left, top = 22.0, top + 19
        if s["points"]:
            out.append(f'<circle class="f{colour}" cx="{left + 10:.0f}" cy="{top - 4}" r="3.5"/>')
        else:
            out.append(
                f'<line class="{_look(s, i)}" x1="{left:.0f}" x2="{left + 20:.0f}" y1="{top - 4}" y2="{top - 4}"/>'
            )
        out.append(f'<text class="ink" x="{left + 26:.0f}" y="{top}">{escape(name)}</text>')
        left += width
    return "".join(out), top + 14


def _colour(s: Mapping[str, Any], i: int) -> int | str:
    return "g" if s.get("grey") else i % _COLOURS


def _look(s: Mapping[str, Any], i: int) -> str:
    dash = " dotted" if s.get("dotted") else " dashed" if s["dashed"] else ""
    return f"line s{_colour(s, i)}{dash}"


def _line(s: Mapping[str, Any], i: int, x: _Scale, y: _Scale) -> str:
    pieces: list[list[tuple[float, float]]] = [[]]
    for a, b in zip(s["x"], s["y"]):
        if x.holds(a) and y.holds(b):
            pieces[-1].append((x(a), y(b)))
        elif pieces[-1]:
            pieces.append([])
    colour, out = _colour(s, i), ""
    if not s["points"]:
        out = "".join(f'<polyline class="{_look(s, i)}" points="{_points(p)}"/>' for p in pieces if len(p) > 1)
    if s["points"] or len(s["x"]) <= 25:
        out += "".join(f'<circle class="f{colour}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for p in pieces for a, b in p)
    return out


def _band(s: Mapping[str, Any], i: int, x: _Scale, y: _Scale) -> str:
    """A strip around a line, bars at separate points."""
    rows = [r for r in zip(s["x"], s["low"], s["high"]) if x.holds(r[0]) and y.holds(r[1]) and y.holds(r[2])]
    colour = _colour(s, i)
    if s["points"]:
        return "".join(
            f'<line class="line s{colour}" x1="{x(a):.1f}" x2="{x(a):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
            for a, low, high in rows
        )
    edge = [(x(a), y(low)) for a, low, _ in rows] + [(x(a), y(high)) for a, _, high in reversed(rows)]
    return f'<polygon class="band f{colour}" points="{_points(edge)}"/>'


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)
