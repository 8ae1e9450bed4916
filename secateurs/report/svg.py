"""A small static picture of a run for a README: widths before and after, accuracy over time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..records import LayerRow, Record
from . import formats
from .headline import headline
from .tables import escape
from .training import phases

WIDTH, HEIGHT = 860, 326
# A phase’s colour → its class here.
_SHADES = {"var(--warmup)": "warm-up", "var(--market)": "market", "var(--recovery)": "recovery"}
_TOP, _BOTTOM = 90, 278

# The picture follows the reader's theme by itself, also inside an <img>.
_STYLE = """
.card{fill:#fff;stroke:#dde2dd}.ink{fill:#1b211d}.muted{fill:#5a645d}.rule{stroke:#dde2dd}.all{fill:#c3ccc5}
.kept{fill:#0b62a8}.line{stroke:#0b62a8;fill:none;stroke-width:2.2;stroke-linejoin:round}.dot{fill:#0b62a8}
.training,.warm-up{fill:#86690a}.market{fill:#0b62a8}.recovery{fill:#00795c}.band{opacity:.12}
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-size:12.5px}
.head{font-size:15.5px;font-weight:600}.sub{font-size:13.5px;font-weight:600}
.end{text-anchor:end}.mid{text-anchor:middle}
@media (prefers-color-scheme:dark){.card{fill:#1a201d;stroke:#343d38}.ink{fill:#e7ece8}.muted{fill:#a3aea7}
.rule{stroke:#343d38}.all{fill:#46524b}.kept,.dot,.market{fill:#6cb4f5}
.line{stroke:#6cb4f5}.training,.warm-up{fill:#e2c658}.recovery{fill:#4fcfa6}}
"""


def picture(record: Record) -> str:
    """The run as an SVG document 860 wide: its headline, layer widths, and validation accuracy over time."""
    sentence = headline(record)
    rows = _balanced(sentence, 84)[:4]
    heads = "".join(f'<text class="ink head" x="28" y="{40 + 22 * i}">{escape(t)}</text>' for i, t in enumerate(rows))
    drop = 22 * (len(rows) - 1)  # a longer sentence moves the charts down
    height = HEIGHT + drop
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(sentence)}">'
        f"<title>{escape(sentence)}</title><style>{_STYLE}</style>"
        f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="12"/>{heads}'
        f'<g transform="translate(0 {drop})">{_widths(record.layers)}{_facts(record)}'
        f"{_accuracy(record)}"
        f'<text class="muted" x="28" y="{HEIGHT - 16}">{escape(_foot(record))}</text></g></svg>\n'
    )


def _foot(record: Record) -> str:
    model, data = formats.shorten(record.model, 44), formats.shorten(record.data, 34)
    return f"{record.method} on {model}, {data}, seed {record.seed}"


def _balanced(text: str, width: int) -> list[str]:
    """As few lines as ``width`` allows, of about equal length."""
    fewest = len(_wrap(text, width))
    narrow = next(w for w in range(len(text) // fewest, width + 1) if w == width or len(_wrap(text, w)) == fewest)
    return _wrap(text, narrow)


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = joined
    return [formats.shorten(line, width + 8) for line in lines]


def _widths(layers: Sequence[LayerRow]) -> str:
    title = f'<text class="ink sub" x="28" y="{_TOP - 14}">Layer widths, kept of all</text>'
    if not layers:
        return title + f'<text class="muted" x="28" y="{_TOP + 20}">no layers recorded</text>'
    step = min(56.0, (_BOTTOM - _TOP) / len(layers))
    every = max(1, math.ceil(15 / step))  # labels closer than 15 units would overlap
    names = [formats.shorten(row.name, 17) for row in layers]
    left = 40 + 7.6 * max(len(name) for name in names)
    full = 312 - left
    widest = max(row.total for row in layers) or 1
    out = [title]
    for i, (row, name) in enumerate(zip(layers, names)):
        y, bar = _TOP + i * step, min(30.0, step * 0.62)
        middle = y + bar / 2 + 4.5
        for kind, width in (("all", row.total), ("kept", row.kept)):
            size = f'width="{full * width / widest:.1f}" height="{bar:.1f}"'
            out.append(f'<rect class="{kind}" x="{left:.1f}" y="{y:.1f}" {size} rx="2"/>')
        if i % every == 0:
            out.append(f'<text class="muted end" x="{left - 9:.1f}" y="{middle:.1f}">{escape(name)}</text>')
            kept = f"{row.kept:,} of {row.total:,}"
            out.append(f'<text class="ink" x="{left + full + 9:.1f}" y="{middle:.1f}">{kept}</text>')
    return "".join(out)


def _facts(record: Record) -> str:
    """Sizes before and after, where few layers leave room for them under the bars."""
    dense, pruned = record.dense, record.pruned
    rows = [
        ("parameters", dense.params, pruned.params, formats.amount),
        ("MACs", dense.macs, pruned.macs, formats.amount),
        ("latency", dense.latency_ms, pruned.latency_ms, formats.milliseconds),
    ]
    rows = [row for row in rows if row[1] is not None and row[2] is not None]
    top = _BOTTOM - 20 * len(rows) + 12
    if not record.layers or _TOP + len(record.layers) * 56 > top - 10:
        return ""
    return "".join(
        f'<text class="muted" x="28" y="{top + 20 * i}">{name}</text>'
        f'<text class="ink" x="120" y="{top + 20 * i}">{escape(form(large))} → {escape(form(small))}</text>'
        for i, (name, large, small, form) in enumerate(rows)
    )


def _accuracy(record: Record) -> str:
    history = record.history
    left, right = 470, WIDTH - 30
    title = f'<text class="ink sub" x="{left - 42}" y="{_TOP - 14}">Accuracy over epochs (validation)</text>'
    points = [(p.epoch, p.accuracy) for p in history if p.accuracy is not None and math.isfinite(p.accuracy)]
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return title + f'<text class="muted" x="{left - 42}" y="{_TOP + 20}">no validation accuracy recorded</text>'
    start, stop = min(points[0][0], history[0].epoch), max(points[-1][0], history[-1].epoch)
    low, high, ticks = _ticks([a for _, a in points])

    def at(epoch: float, accuracy: float) -> tuple[float, float]:
        across, up = (epoch - start) / (stop - start), (accuracy - low) / (high - low)
        return left + across * (right - left), _BOTTOM - 18 - up * (_BOTTOM - 18 - _TOP)

    out = [title]
    for band in phases(record):
        a, b = at(max(band.start, start), low)[0], at(min(band.stop, stop), low)[0]
        if b <= a:  # over before the first point
            continue
        known = _SHADES.get(band.colour, "all")
        out.append(
            f'<rect class="band {known}" x="{a:.1f}" y="{_TOP}" width="{b - a:.1f}" height="{_BOTTOM - 18 - _TOP}"/>'
        )
        if b - a > 7.2 * len(band.name):
            out.append(f'<text class="muted mid" x="{(a + b) / 2:.1f}" y="{_BOTTOM - 24}">{escape(band.name)}</text>')
    for tick in ticks:
        y = at(start, tick)[1]
        out.append(f'<line class="rule" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="muted end" x="{left - 8}" y="{y + 4:.1f}">{100 * tick:.3g}%</text>')
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(e, a) for e, a in points))
    x, y = at(*points[-1])
    out.append(f'<polyline class="line" points="{path}"/><circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>')
    for epoch, side in ((start, ""), (stop, " end")):
        out.append(f'<text class="muted{side}" x="{at(epoch, low)[0]:.1f}" y="{_BOTTOM}">{epoch:.3g}</text>')
    return "".join(out)


def _ticks(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """A range around the values and two to five round ticks within it."""
    low, high = min(values), max(values)
    span = max(high - low, 0.01)
    low, high = low - 0.06 * span, high + 0.06 * span
    step = 10 ** math.floor(math.log10(high - low))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if (high - low) / s <= 5)
    first = math.ceil(low / step)
    return low, high, [i * step for i in range(first, math.floor(high / step) + 1)]
