"""Charts as data: Plotly specifications with one style, in colours that the page's theme decides.

A colour is written ``var(--name)``; the page replaces it by its theme's value when it draws, so one
specification serves light and dark. Nothing here imports Plotly: a figure is plain dictionaries.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

# Colours that stay apart for colour-blind eyes (after Okabe and Ito), as the page's CSS defines them.
CYCLE = tuple(f"var(--c{i})" for i in range(1, 7))
KEPT, REMOVED, ALERT = "var(--kept)", "var(--removed)", "var(--alert)"
INK, MUTED, GRID, CARD = "var(--ink)", "var(--muted)", "var(--grid)", "var(--card)"
_LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12, "color": INK}}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class Figure:
    """A chart and its words: ``title`` above, ``caption`` below, ``alt`` for those who do not see it."""

    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    alt: str
    caption: str = ""
    height: int = 270


@dataclass(frozen=True)
class Series:
    """One line: ``y`` against ``x`` (None leaves a gap), with ``error`` as half-width of an error bar, ``band`` as the
    lower and upper edge of a shaded strip around it; ``points`` draws marks alone, and bars for the strip."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: str = CYCLE[0]
    dash: str = "solid"
    width: float = 2.0
    opacity: float = 1.0
    error: Sequence[float | None] | None = None
    band: tuple[Sequence[float | None], Sequence[float | None]] | None = None
    points: bool = False


@dataclass(frozen=True)
class Band:
    """A shaded stretch of the x axis, such as a phase of training."""

    name: str
    start: float
    stop: float
    colour: str


@dataclass(frozen=True)
class Axis:
    """How an axis reads. ``percent`` shows fractions as percentages."""

    title: str
    percent: bool = False
    log: bool = False
    range: tuple[float, float] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def spec(self) -> dict[str, Any]:
        """The axis as Plotly reads it."""
        out: dict[str, Any] = {
            "title": {"text": self.title, "standoff": 8, "font": {"size": 12, "color": MUTED}},
            "tickfont": {"size": 11, "color": MUTED},
            "gridcolor": GRID,
            "linecolor": GRID,
            "zeroline": False,
            "automargin": True,
            "nticks": 6,
        }
        if self.percent:
            out |= {"tickformat": ",.3~p", "hoverformat": ".2%"}
        if self.log:
            out |= {
                "type": "log",
                "dtick": "D2",
                "minor": {"ticks": "outside", "ticklen": 3, "tickcolor": GRID},
            }
        if self.range:
            out["range"] = list(self.range)
        return out | self.extra


def text(value: str) -> str:
    """A user's string made safe for Plotly, which reads a little HTML inside its labels."""
    return html.escape(value, quote=False)


def number(value: float | None) -> float | None:
    """Six digits are more than a screen shows; what is not finite becomes a gap."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def numbers(values: Iterable[float | None]) -> list[float | None]:
    """:func:`number` of each."""
    return [number(value) for value in values]


def layout(x: Axis, y: Axis, **extra: Any) -> dict[str, Any]:
    """The house style around two axes."""
    base: dict[str, Any] = {
        "font": {
            "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
            "size": 12,
            "color": INK,
        },
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 48, "r": 14, "t": 26, "b": 40},
        "xaxis": {**x.spec(), "showgrid": False, "ticks": "outside", "ticklen": 4, "tickcolor": GRID},
        "yaxis": y.spec(),
        "showlegend": False,
        "legend": _LEGEND,
        "hoverlabel": {"bgcolor": CARD, "bordercolor": GRID, "font": {"color": INK, "size": 12}},
        "hovermode": "closest",
    }
    return base | extra


def bands(stretches: Sequence[Band]) -> dict[str, Any]:
    """Shapes that shade stretches of x, with their names on top where there is room."""
    span = max((b.stop for b in stretches), default=0.0) - min((b.start for b in stretches), default=0.0)
    shapes = [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "layer": "below",
            "line": {"width": 0},
            "x0": number(b.start),
            "x1": number(b.stop),
            "y0": 0,
            "y1": 1,
            "fillcolor": b.colour,
        }
        for b in stretches
    ]
    names = [
        {
            "text": text(b.name),
            "showarrow": False,
            "xref": "x",
            "yref": "paper",
            "yanchor": "bottom",
            "x": number((b.start + b.stop) / 2),
            "y": 1.0,
            "font": {"size": 11, "color": MUTED},
        }
        for b in stretches
        if span > 0 and (b.stop - b.start) / span >= 0.09
    ]
    return {"shapes": shapes, "annotations": names}


def lines(
    title: str,
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    alt: str,
    caption: str = "",
    shade: Sequence[Band] = (),
    height: int = 270,
) -> Figure:
    """A line chart. A legend appears from the second series on; few points are marked."""
    data = [_strip(s) for s in series if s.band is not None and not s.points]
    for s in series:
        line = {"color": s.colour, "dash": s.dash, "width": s.width}
        trace: dict[str, Any] = {
            "type": "scatter",
            "name": text(s.name),
            "x": numbers(s.x),
            "y": numbers(s.y),
            "line": line,
            "opacity": s.opacity,
            "mode": "markers" if s.points else "lines+markers" if len(s.x) <= 25 else "lines",
            "marker": {"size": 5},
        }
        if s.error is not None:
            trace["error_y"] = {"type": "data", "array": numbers(s.error), "thickness": 1.2, "width": 3}
        elif s.band is not None and s.points:
            trace["error_y"] = _bars(s)
        data.append(trace)
    several = len(series) > 1
    margin = {"l": 48, "r": 14, "t": 52 if several and shade else 26, "b": 40}
    extra = bands(shade) | {"showlegend": several, "hovermode": "x unified", "margin": margin}
    if several and shade:  # the names of the bands sit on the frame: lift the legend above them
        extra["legend"] = _LEGEND | {"y": 1.1}
    return Figure(title, data, layout(x, y, **extra), alt, caption, height)


def _bars(s: Series) -> dict[str, Any]:
    """The band around separate points: a bar at each."""
    assert s.band is not None

    def between(a: Sequence[float | None], b: Sequence[float | None]) -> list[float | None]:
        return numbers(None if x is None or y is None else x - y for x, y in zip(a, b))

    ends = {"array": between(s.band[1], s.y), "arrayminus": between(s.y, s.band[0])}
    return {"type": "data", "symmetric": False, **ends, "thickness": 1.2, "width": 3}


def _strip(s: Series) -> dict[str, Any]:
    """The band around a line: out along its lower edge, back along its upper one."""
    assert s.band is not None
    edges = [(x, number(low), number(high)) for x, low, high in zip(numbers(s.x), *s.band)]
    known = [(x, low, high) for x, low, high in edges if low is not None and high is not None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, _, _ in known] + [x for x, _, _ in reversed(known)],
        "y": [low for _, low, _ in known] + [high for _, _, high in reversed(known)],
        "fill": "toself",
        "fillcolor": s.colour,
        "line": {"width": 0},
        "opacity": 0.16,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def histogram(
    title: str,
    groups: dict[str, tuple[Sequence[float], str]],
    x: Axis,
    *,
    width: float,
    noun: str,
    alt: str,
    span: tuple[float, float] = (0.0, 1.0),
    name: Callable[[float], str] = "{:.2f}".format,
    mark: tuple[float, str] | None = None,
    caption: str = "",
) -> Figure:
    """Counts of values within ``span`` in bins of ``width``, one colour per group, on a logarithmic axis.

    Logarithmic because a pruned network has hundreds of players at zero and a dozen elsewhere: on a
    linear axis the dozen cannot be seen. Groups are laid over one another: stacks mislead on such an axis.
    ``name`` writes the edges of a bin.
    """
    low, bins = span[0], max(1, round((span[1] - span[0]) / width))
    data, highest = [], 1
    for group, (values, colour) in groups.items():
        counts = _counts([(value - low) / width for value in values], bins)
        highest = max(highest, *counts)
        data.append(
            {
                "type": "bar",
                "name": text(group),
                "marker": {"color": colour, "line": {"width": 0}},
                "x": [number(low + (i + 0.5) * width) for i in range(bins)],
                "y": [c or None for c in counts],
                "opacity": 0.85,
                "customdata": [f"{name(low + i * width)}–{name(low + (i + 1) * width)}" for i in range(bins)],
                "hovertemplate": f"%{{y:,}} {noun} in %{{customdata}}<extra>{text(group)}</extra>",
            }
        )
    # Bars start at 0.7, so that a single player still shows.
    axis = Axis(f"{noun} (log scale)", log=True, range=(math.log10(0.7), math.log10(highest * 2)), extra={"dtick": 1})
    extra: dict[str, Any] = {"barmode": "overlay", "bargap": 0.08, "showlegend": len(groups) > 1}
    if mark:
        extra |= _mark(*mark)
    return Figure(title, data, layout(x, axis, **extra), alt, caption, height=350)


def _counts(values: Sequence[float], bins: int) -> list[int]:
    counts = [0] * bins
    for value in values:
        if math.isfinite(value):
            # 1e-9: a value on an edge belongs to the bin above it, whatever its last bit.
            counts[min(bins - 1, max(0, int(value + 1e-9)))] += 1
    return counts


def _mark(value: float, label: str) -> dict[str, Any]:
    line = {"type": "line", "xref": "x", "yref": "paper", "x0": value, "x1": value, "y0": 0, "y1": 1}
    note = {"text": text(label), "showarrow": False, "xref": "x", "yref": "paper", "x": value, "y": 0.98}
    return {
        "shapes": [line | {"line": {"color": ALERT, "dash": "dash", "width": 2}}],
        "annotations": [
            note | {"xanchor": "left", "xshift": 5, "yanchor": "top", "font": {"color": ALERT, "size": 12}}
        ],
    }


@dataclass(frozen=True)
class Cloud:
    """Points of one look: ``labels`` are shown on hover. ``in_legend`` false keeps them out of the legend."""

    name: str
    x: Sequence[float | None]
    y: Sequence[float | None]
    colour: str
    symbol: str = "circle"
    size: float = 7
    opacity: float = 0.85
    labels: Sequence[str] = ()
    in_legend: bool = True


def scatter(title: str, clouds: Sequence[Cloud], x: Axis, y: Axis, *, alt: str, caption: str = "") -> Figure:
    """Points in the plane."""
    hover = f"%{{customdata}}<br>{text(y.title)} %{{y:.3g}}<br>{text(x.title)} %{{x:.3g}}<extra></extra>"
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": text(c.name),
            "x": numbers(c.x),
            "y": numbers(c.y),
            "marker": {
                "color": c.colour,
                "symbol": c.symbol,
                "size": c.size,
                "line": {"width": 1, "color": c.colour},
            },
            "opacity": c.opacity,
            "customdata": [text(label) for label in c.labels],
            "showlegend": c.in_legend,
            "hovertemplate": hover,
        }
        for c in clouds
    ]
    return Figure(
        title,
        data,
        layout(x, y, showlegend=True, legend=_LEGEND | {"itemclick": False, "itemdoubleclick": False}),
        alt,
        caption,
        height=350,
    )
