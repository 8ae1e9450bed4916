"""Accuracy against a cost: what the page's script needs to draw the chart, and the controls around it.

The data stand in the page once, as inert JSON. Texts that Plotly shows are escaped here, for it reads a little HTML;
everything else the script writes as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..records import Block, Comparison, Estimate, Row, RunRow
from ..spec import written
from . import comparison_columns as columns
from . import formats
from .comparison_columns import ACCURACY, MEASURES, Measure
from .comparison_tables import href
from .figures import CYCLE, MUTED, Axis, layout, number, text
from .page import paragraph
from .tables import Html, escape

BEST = 5  # methods that "best five" shows
FEW = 10  # so many are all shown from the start
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
_OPEN = ("circle-open", "square-open", "diamond-open", "triangle-up-open", "triangle-down-open", "cross-open")
# The same marks for the checklist, in a box from −6 to 6.
_PATHS = {
    "circle": "M-4.6,0a4.6,4.6 0 1,0 9.2,0a4.6,4.6 0 1,0 -9.2,0Z",
    "square": "M-4.2,-4.2H4.2V4.2H-4.2Z",
    "diamond": "M0,-5.4L5.4,0L0,5.4L-5.4,0Z",
    "triangle-up": "M0,-5L5.2,4.2H-5.2Z",
    "triangle-down": "M0,5L5.2,-4.2H-5.2Z",
    "cross": "M-1.8,-5H1.8V-1.8H5V1.8H1.8V5H-1.8V1.8H-5V-1.8H-1.8Z",
}


def chart(comparison: Comparison) -> Html:
    """The chart with its menu, its checklist, and the box that shows a run."""
    costs = columns.costs(comparison)
    drawn = any("accuracy" in row.figures for block in comparison.blocks for row in block.rows)
    if not drawn or not costs:
        return paragraph("There is no chart: no finished run has both an accuracy and a cost.", "none")
    methods = _methods(comparison)
    # '<' is the only character by which text could leave a script element.
    data = json.dumps(_data(comparison, costs, methods), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    alt = "Accuracy of every method at every budget against a cost; the tables below hold the same figures."
    return Html(
        f'<figure class="comparison"><h3>Accuracy against what it costs</h3>{_menu(comparison, costs)}'
        f'<div class="beside"><div class="chart" role="img" aria-label="{escape(alt)}" style="height:520px"></div>'
        f'<script type="application/json" id="comparison">{data.replace("<", chr(92) + "u003c")}</script>'
        f"{_checklist(methods)}</div><figcaption>{_caption(comparison)}</figcaption></figure>"
        '<aside class="picked card" aria-live="polite" aria-label="what was picked" hidden></aside>'
    )


def _caption(comparison: Comparison) -> Html:
    several = len(comparison.seeds) > 1
    bars = "Large marks are means over seeds, their bars 95% intervals; small points are single runs. "
    once = "Marks are single runs: with one seed there are no intervals. "
    dense = "" if comparison.dense is None else "The dashed line is the dense network. "
    return Html(
        escape(
            f"{bars if several else once}Lines join a method’s budgets. {dense}Controls are grey. "
            "The dotted steps are the Pareto front over the means of all methods, also of those that are not shown: no "
            "other method was better at the same cost. Where all cost the same, they stand side by side. Press a point "
            "for the run’s report and the command that exports its network."
        )
    )


def _methods(comparison: Comparison) -> list[dict[str, Any]]:
    """Everything that has a row, methods by their standing, then controls; each with its mark."""
    names = columns.standing(comparison.blocks)
    rows = [row for block in comparison.blocks for row in block.rows]
    controls = list(dict.fromkeys(row.method for row in rows if row.role != "method"))
    first = set(names if len(names) <= FEW else names[:BEST])
    out = []
    for place, name in enumerate(names):
        # Shapes change with colours, so that neighbours in the list differ in both.
        symbol = _SYMBOLS[(place + place // len(CYCLE)) % len(_SYMBOLS)]
        out.append({"name": name, "colour": CYCLE[place % len(CYCLE)], "symbol": symbol, "shown": name in first})
    for place, name in enumerate(controls):
        symbol = _OPEN[place % len(_OPEN)]
        # Those of lottery tickets matter beside tickets alone, and would squeeze the others together.
        shown = len(controls) <= FEW and not name.startswith("imp-")
        out.append({"name": name, "colour": MUTED, "symbol": symbol, "shown": shown, "control": True})
    return out


def _data(comparison: Comparison, costs: Sequence[Measure], methods: Sequence[dict[str, Any]]) -> dict[str, Any]:
    index = {method["name"]: i for i, method in enumerate(methods)}
    budgets = {block.budget: i for i, block in enumerate(comparison.blocks)}
    places = {run.hash: i for i, run in enumerate(comparison.runs)}
    keys = [m.key for m in costs]
    points = [
        _point(block, row, keys, index, budgets, places)
        for block in comparison.blocks
        for row in block.rows
        if "accuracy" in row.figures
    ]
    base = layout(Axis(""), Axis("accuracy on the test set", percent=True, extra={"nticks": 8}))
    base["margin"] = {"l": 54, "r": 16, "t": 16, "b": 44}
    base["hoverlabel"] = {**base["hoverlabel"], "align": "left"}
    return {
        "costs": [{"key": m.key, "title": _title(m), "ticks": m.ticks, "suffix": m.suffix} for m in costs],
        "methods": [{**m, "label": text(m["name"])} for m in methods],
        "budgets": list(budgets),
        "best": BEST,
        "points": points,
        "runs": [_run(run, keys, index, budgets) for run in comparison.runs],
        "dense": _dense(comparison),
        "layout": base,
    }


def _title(measure: Measure) -> str:
    return f"{measure.title} ({measure.note})" if measure.note else measure.title


def _point(
    block: Block,
    row: Row,
    keys: Sequence[str],
    index: dict[str, int],
    budgets: dict[str, int],
    places: dict[str, int],
) -> dict[str, Any]:
    found = row.figures["accuracy"]
    facts = [("accuracy", columns.accuracy(found))]
    facts += [(m.title, m.form(row.figures[m.key].mean)) for m in MEASURES if m.cost and m.key in row.figures]
    facts += [("options", written(row.options))] if row.options else []
    title = (
        f"{row.method} at {block.budget}, {'mean of ' + formats.plural(found.n, 'seed') if found.n > 1 else 'one seed'}"
    )
    return {
        "m": index[row.method],
        "b": budgets[block.budget],
        "y": number(found.mean),
        "low": number(found.low),
        "high": number(found.high),
        "x": _amounts({key: row.figures[key].mean for key in keys if key in row.figures}),
        "title": title,
        "facts": facts,
        "hover": _hover(title, facts),
        "runs": [places[run] for run in row.runs if run in places],
    }


def _run(run: RunRow, keys: Sequence[str], index: dict[str, int], budgets: dict[str, int]) -> dict[str, Any]:
    figures = [(m.title, m.form(value)) for m in (ACCURACY, *MEASURES) if (value := getattr(run, m.key)) is not None]
    facts = figures + ([("options", written(run.options))] if run.options else [])
    title = f"{run.method}{f' at {run.budget}' if run.budget else ''}, seed {run.seed}"
    costs = {m.title for m in MEASURES if m.cost} | {"accuracy", "options"}
    return {
        "m": index.get(run.method, -1),
        "b": budgets.get(run.budget, -1),
        "y": number(run.accuracy),
        "x": _amounts({key: value for key in keys if (value := getattr(run, key)) is not None}),
        "title": title,
        "seed": run.seed,
        "facts": facts,
        "hover": _hover(title, [fact for fact in facts if fact[0] in costs]),
        "href": href(run),
        "command": run.command,
    }


def _hover(title: str, facts: Sequence[tuple[str, str]]) -> str:
    lines = [f"<b>{text(title)}</b>", *(f"{text(name)} {text(formats.shorten(value, 60))}" for name, value in facts)]
    return "<br>".join(lines)


def _amounts(given: dict[str, float]) -> dict[str, float | None]:
    return {key: number(value) for key, value in given.items()}


def _dense(comparison: Comparison) -> dict[str, Any] | None:
    found: Estimate | None = None if comparison.dense is None else comparison.dense.figures.get("accuracy")
    if found is None:
        return None
    y, low, high = number(found.mean), number(found.low), number(found.high)
    return {"y": y, "low": low, "high": high, "label": f"dense {formats.percent(found.mean)}"}


def _menu(comparison: Comparison, costs: Sequence[Measure]) -> Html:
    """What stands above the chart. Hidden until the script, which alone can obey it, shows it."""
    menu = "".join(f'<option value="{m.key}">{escape(_title(m))}</option>' for m in costs)
    budgets = "".join(
        f'<option value="{i}">{escape(block.budget)}</option>' for i, block in enumerate(comparison.blocks)
    )
    which = f'<label>budget <select name="budget"><option value="">all</option>{budgets}</select></label>'
    seeds = '<label><input type="checkbox" name="runs" checked> single runs</label>'
    return Html(
        f'<div class="tools" hidden><label>against <select name="cost">{menu}</select></label>'
        f"{which if len(comparison.blocks) > 1 else ''}"
        '<label><input type="checkbox" name="log"> log scale</label>'
        f"{seeds if len(comparison.seeds) > 1 else ''}</div>"
    )


def _checklist(methods: Sequence[dict[str, Any]]) -> Html:
    entries = []
    for i, method in enumerate(methods):
        mark = _mark(method["symbol"], method["colour"])
        checked = " checked" if method["shown"] else ""
        name = escape(method["name"])
        box = f'<input type="checkbox" name="method" value="{i}"{checked}>'
        entries.append(f'<label title="{name}">{box}{mark}<span>{name}</span></label>')
    buttons = '<button type="button" data-show="all">all</button><button type="button" data-show="none">none</button>'
    if sum("control" not in m for m in methods) > BEST:
        buttons += '<button type="button" data-show="best">best five</button>'
    return Html(
        f'<fieldset class="which" hidden><legend>shown</legend><div class="buttons">{buttons}</div>'
        f'<div class="list" tabindex="-1">{"".join(entries)}</div></fieldset>'
    )


def _mark(symbol: str, colour: str) -> str:
    path = _PATHS[symbol.removesuffix("-open")]
    fill = f"fill:none;stroke:{colour};stroke-width:1.6" if symbol.endswith("-open") else f"fill:{colour}"
    return (
        f'<svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true"><path d="{path}" style="{fill}"/></svg>'
    )
