"""A run over time: the four panels of the paper's Figure 1, and the market's price and demand."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import HistoryPoint, Record
from . import formats
from .figures import ALERT, CYCLE, INK, Axis, Band, Figure, Series, lines
from .headline import NAMES
from .page import Section, grid, paragraph
from .scores import LEVEL, by_level, scored
from .tables import Html, escape

PHASES = {
    "training": ("training", "var(--warmup)"),
    "search": ("search", "var(--warmup)"),
    "warmup": ("warm-up", "var(--warmup)"),
    "market": ("market", "var(--market)"),
    "recovery": ("recovery", "var(--recovery)"),
}
_UNIT = (-0.03, 1.03)
_FROM_ZERO = {"rangemode": "tozero"}


def phases(record: Record) -> list[Band]:
    """The phases in epochs, by the steps that each took.

    Points of the history are too sparse to tell: a border lies somewhere between two of them. They are what there is
    where a record counts no steps.
    """
    pace = next((p.step / p.epoch for p in reversed(record.history) if p.epoch > 0), 0.0)
    steps = {name: count for name, count in record.train.steps.items() if name != "total" and count > 0}
    if not steps or not pace:
        return _stretches(record)
    out, start = [], 0
    for phase, count in steps.items():
        name, colour = _named(phase, record)
        out.append(Band(name, start / pace, (start + count) / pace, colour))
        start += count
    return out


def _stretches(record: Record) -> list[Band]:
    """Contiguous points of one phase; each stretch lasts until the next begins."""
    out: list[Band] = []
    for point in record.history:
        name, colour = _named(point.phase, record)
        if out:
            last = out[-1]
            out[-1] = Band(last.name, last.start, point.epoch, last.colour)
        if not out or out[-1].name != name:
            out.append(Band(name, point.epoch, point.epoch, colour))
    return out


def _named(phase: str, record: Record) -> tuple[str, str]:
    # Records of earlier versions call the training before a one-shot cut a warm-up.
    phase = "training" if phase == "warmup" and scored(record) else phase
    if phase.startswith(LEVEL):  # one after another, so neighbours must differ
        return phase, "var(--warmup)" if phase[-1] in "13579" else "var(--market)"
    return PHASES.get(phase, (phase, "var(--other)"))


def _within(bands: Sequence[Band], points: Sequence[HistoryPoint]) -> list[Band]:
    """What of the bands lies among the points."""
    first, last = points[0].epoch, points[-1].epoch
    cut = [Band(b.name, max(b.start, first), min(b.stop, last), b.colour) for b in bands]
    return [b for b in cut if b.stop > b.start]


def training(record: Record) -> Section:
    """Accuracy (validation), sparsity, mean participation and active players, phases shaded."""
    title, history = "Training over time", record.history
    if not history:
        nothing = "The record holds no history: nothing was logged during training."
        return Section(title, [paragraph(nothing, "none")], "Training")
    shade, end = phases(record), history[-1]
    x = _epochs(history, shade)

    def panel(name: str, y: list[float | None], axis: Axis, colour: str, caption: str) -> Figure:
        series = [Series(name.lower(), [p.epoch for p in history], y, colour)]
        return lines(name, series, x, axis, shade=shade, alt=f"{name} over epochs. {caption}", caption=caption)

    sparse, mean = formats.percent(end.sparsity, 1), formats.significant(end.mean_participation)
    active = formats.count(end.active) + (f" of {record.groups_total:,}" if record.groups_total else "")
    sparsity, participation = [p.sparsity for p in history], [p.mean_participation for p in history]
    if scored(record):
        axis = Axis("groups removed", percent=True, range=_UNIT)
        how = (
            "At the end of each level"
            if by_level(record)
            else "All at once, when training ends; then what is left recovers"
        )
        caption = f"{how}. It ends at {sparse}."
        removed = panel("Groups removed", [*sparsity], axis, CYCLE[1], caption)
        return Section(title, [_legend(shade), grid(_accuracy(history, shade, x), removed)], "Training")
    panels = [
        _accuracy(history, shade, x),
        panel(
            "Sparsity of groups",
            [*sparsity],
            Axis("groups at zero", percent=True, range=_UNIT),
            CYCLE[1],
            f"Fraction of groups below ε or removed; it ends at {sparse}.",
        ),
        panel(
            "Mean participation",
            [*participation],
            Axis("mean s", range=_UNIT),
            CYCLE[3],
            f"How far the groups take part, on average; it ends at {mean}.",
        ),
        panel(
            "Active players",
            [p.active for p in history],
            Axis("players with s ≥ ε", extra=_FROM_ZERO),
            CYCLE[2],
            f"They end at {active}.",
        ),
    ]
    return Section(title, [_legend(shade), grid(*panels)], "Training")


def _accuracy(history: Sequence[HistoryPoint], shade: Sequence[Band], x: Axis) -> Figure | Html:
    scored = [p for p in history if p.accuracy is not None]
    if not scored:
        return paragraph("No validation accuracy was recorded.", "none")
    return lines(
        "Accuracy (validation)",
        [Series("validation accuracy", [p.epoch for p in scored], [p.accuracy for p in scored])],
        x,
        Axis("validation accuracy", percent=True),
        shade=shade,
        alt=f"Validation accuracy over epochs; last {formats.percent(scored[-1].accuracy)}.",
        caption="On examples held out of the training data. The test set plays no part until the end.",
    )


def _epochs(history: Sequence[HistoryPoint], shade: Sequence[Band] = ()) -> Axis:
    """One range for all panels of a run, so that they can be read against each other."""
    start = min([history[0].epoch, *(b.start for b in shade)])
    stop = max([history[-1].epoch, *(b.stop for b in shade)])
    margin = 0.015 * (stop - start) or 0.5
    return Axis("epoch", range=(start - margin, stop + margin))


def _legend(shade: Sequence[Band]) -> Html:
    entries = "".join(
        f'<li><span class="swatch" style="background:{b.colour}"></span>{escape(b.name)}: '
        f"epochs {b.start:.3g} to {b.stop:.3g}</li>"
        for b in shade
    )
    return Html(f'<ul class="phases" aria-label="phases of training">{entries}</ul>')


def market(record: Record) -> Section:
    """Per resource: the demand against the path that it had to follow, and the price that made it."""
    title = "Price and demand"
    resources = list(dict.fromkeys(r for p in record.history for r in (*p.path, *p.demand, *p.price)))
    if not resources:
        nothing = "No market: this run set no price and followed no budget path."
        return Section(title, [paragraph(nothing, "none")], "Market")
    charts = []
    for name in resources:
        points = [p for p in record.history if name in p.path or name in p.demand or name in p.price]
        # Mostly a market is drawn for the one phase it lasts: a single shade would say nothing.
        shade = found if len(found := _within(phases(record), points)) > 1 else []
        charts += [chart for chart in (_demand(points, name, shade), _price(points, name, shade)) if chart]
    lead = "Each step the price of a resource is solved for, so that the demand of all players meets the path."
    return Section(title, [paragraph(lead, "lead"), grid(*charts)], "Market")


def _demand(points: Sequence[HistoryPoint], resource: str, shade: Sequence[Band]) -> Figure | None:
    x, name = [p.epoch for p in points], NAMES.get(resource, resource)
    both = [
        Series("demand", x, [p.demand.get(resource) for p in points], CYCLE[0], width=6, opacity=0.45),
        Series("budget path", x, [p.path.get(resource) for p in points], INK, "dash", 1.8),
    ]
    drawn = [s for s in both if any(v is not None for v in s.y)]
    if not drawn:
        return None
    gaps = [abs(p.demand[resource] - p.path[resource]) for p in points if resource in p.demand and resource in p.path]
    caption = f"Largest distance between the two: {formats.significant(max(gaps))} of dense." if gaps else ""
    axis = Axis("fraction of dense", percent=True, extra=_FROM_ZERO)
    title, alt = f"Demand against path: {name}", f"Demand for {name} over epochs, and its path. {caption}"
    return lines(title, drawn, _epochs(points), axis, shade=shade, caption=caption, alt=alt)


def _price(points: Sequence[HistoryPoint], resource: str, shade: Sequence[Band]) -> Figure | None:
    prices, name = [p.price.get(resource) for p in points], NAMES.get(resource, resource)
    if all(price is None for price in prices):
        return None
    return lines(
        f"Price: {name}",
        [Series("price", [p.epoch for p in points], prices, ALERT)],
        _epochs(points),
        Axis("price", extra=_FROM_ZERO),
        shade=shade,
        alt=f"Price of {name} over epochs.",
        caption="Benefit that a unit of rent costs; zero while the path does not bind.",
    )
