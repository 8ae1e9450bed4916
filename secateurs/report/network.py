"""The network as a picture: a row for each layer, wires beside them, one colour for what is cut together.

A value occupies a lane from the row where it is made to the last that reads it, as branches do in the picture of a
version history. So nothing overlaps, however many layers there are, and stages fold away.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ..records import Network, NetworkGroup, NetworkNode
from . import formats
from .page import Section, paragraph
from .tables import Html, escape

HEIGHT = 30  # of a row, as in page.css
PITCH, WIDEST, MARGIN = 15.0, 120.0, 11.0  # between lanes; all lanes; to the left and right of them
STAGE = (4, 40)  # how many layers fold away together: at least, at most
OPEN = 90  # rows in sight at first
FIRST_HUE, GOLDEN_ANGLE = 208.0, 137.508  # degrees: any number of hues, neighbours far apart
SIGNS = frozenset("+−×÷")


def section(drawn: Network, *, title: str = "The network and what is tied in it") -> Section:
    """The network with its groups; the widths after the cut beside those before, where it was cut."""
    body = [paragraph(_lead(drawn), "lead"), picture(drawn)]
    return Section(title, body, "Network")


def _lead(drawn: Network) -> str:
    tied = f"{formats.plural(len(drawn.groups), 'group')}: what has one colour is cut together"
    cut = " Widths are before → after the cut." if any(n.kept is not None for n in drawn.nodes) else ""
    return (
        f"{formats.plural(len(drawn.nodes) - 2, 'node')} in the order in which they run, {tied}; grey is fixed.{cut} "
        "Bars grow as the root of the width. Point at a row or a group to see all that goes with it."
    )


def picture(drawn: Network) -> Html:
    """The network as one part of a page."""
    wires = Wires.of(drawn.nodes)
    rows = "".join(_stages(drawn, wires, 0, len(drawn.nodes), 0, [OPEN]))
    groups = "".join(_button(number, group) for number, group in enumerate(drawn.groups))
    data = json.dumps(_data(drawn), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return Html(
        f'<div class="card net"><div class="net-rows" role="list" style="--lanes:{wires.width:.0f}px">{rows}</div>'
        '<aside class="net-side"><div class="net-about" aria-live="polite"></div>'
        f'<div class="net-groups" role="group" aria-label="groups">{groups}</div></aside>'
        f'<script type="application/json">{data}</script></div>'
    )


# -- lanes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wires:
    """Where the value of each node runs: in ``lane[n]`` from row n to row ``last[n]``."""

    nodes: Sequence[NetworkNode]
    lane: list[int]
    last: list[int]

    @classmethod
    def of(cls, nodes: Sequence[NetworkNode]) -> Wires:
        last = list(range(len(nodes)))
        for number, node in enumerate(nodes):
            for source in node.inputs:
                last[source] = number
        lane: list[int] = []
        for number in range(len(nodes)):
            taken = {lane[i] for i in range(number) if last[i] > number}
            lane.append(next(k for k in range(number + 1) if k not in taken))
        return cls(nodes, lane, last)

    @property
    def lanes(self) -> int:
        """Number of the last."""
        return max(self.lane, default=0)

    @property
    def pitch(self) -> float:
        return min(PITCH, WIDEST / max(1, self.lanes))

    @property
    def width(self) -> float:
        return 2 * MARGIN + self.pitch * self.lanes

    def x(self, node: int) -> float:
        return MARGIN + self.pitch * self.lane[node]

    def through(self, row: int) -> list[int]:
        """The nodes whose values cross the upper edge of a row."""
        return [i for i in range(row) if self.last[i] >= row]

    def row(self, number: int) -> str:
        """The wires of one row, and its node."""
        node, x, middle = self.nodes[number], self.x(number), HEIGHT / 2
        parts = []
        for i in self.through(number):
            if self.last[i] > number:
                parts.append(_wire(f"M{self.x(i):.1f} 0V{HEIGHT}", self.nodes[i]))
            if i in node.inputs:
                curve = f"C{self.x(i):.1f} 9 {x:.1f} 3 {x:.1f} {middle}" if self.x(i) != x else f"V{middle}"
                parts.append(_wire(f"M{self.x(i):.1f} 0{curve}", self.nodes[i]))
        if self.last[number] > number:
            parts.append(_wire(f"M{x:.1f} {middle}V{HEIGHT}", node))
        return self._svg("".join(parts) + _mark(node, x, middle))

    def fold(self, start: int, stop: int) -> str:
        """The wires beside a stage's heading: passing it while it is open, entering and leaving it while it is shut."""
        into, out, middle = self.through(start), self.through(stop), HEIGHT / 2
        passing = "".join(_wire(f"M{self.x(i):.1f} 0V{HEIGHT}", self.nodes[i]) for i in into)
        shut = "".join(_wire(f"M{self.x(i):.1f} 0V{middle}", self.nodes[i]) for i in into)
        shut += "".join(_wire(f"M{self.x(i):.1f} {middle}V{HEIGHT}", self.nodes[i]) for i in out)
        places = [self.x(i) for i in {*into, *out}]
        left, right = min(places, default=MARGIN), max(places, default=MARGIN)
        size = f'x="{left - 7:.1f}" y="{middle - 6}" width="{right - left + 14:.1f}" height="12" rx="4"'
        box = f'<rect class="box" {size}/>'
        return self._svg(f'<g class="open">{passing}</g><g class="shut">{shut}{box}</g>')

    def _svg(self, inner: str) -> str:
        return f'<svg width="{self.width:.0f}" height="{HEIGHT}" aria-hidden="true">{inner}</svg>'


def _wire(path: str, source: NetworkNode) -> str:
    return f'<path class="wire{_fixed(source)}"{_colour(source.groups)}{_of(source)} d="{path}"/>'


def _mark(node: NetworkNode, x: float, y: float) -> str:
    if not node.kind:
        return f'<circle class="mark end" cx="{x:.1f}" cy="{y}" r="5"/>'
    kind = f'class="mark{_fixed(node)}"{_colour(node.groups)}{_of(node)}'
    if node.kind in SIGNS:
        arms = f"M{x - 3.4:.1f} {y}h6.8" + (f"M{x:.1f} {y - 3.4}v6.8" if node.kind == "+" else "")
        return f'<circle {kind} cx="{x:.1f}" cy="{y}" r="7"/><path class="sign" d="{arms}"/>'
    return f'<rect {kind} x="{x - 6:.1f}" y="{y - 7}" width="12" height="14" rx="3.5"/>'


def _fixed(node: NetworkNode) -> str:
    return "" if node.groups else " none"


def _of(node: NetworkNode) -> str:
    return f' data-g="{" ".join(map(str, node.groups))}"' if node.groups else ""


def _colour(groups: Sequence[int]) -> str:
    return f' style="{_hue(groups[0])}"' if groups else ""


def _hue(group: int) -> str:
    return f"--h:{(FIRST_HUE + group * GOLDEN_ANGLE) % 360:.0f}"


# -- rows ----------------------------------------------------------------------------------------------------


def _stages(drawn: Network, wires: Wires, start: int, stop: int, depth: int, left: list[int]) -> Iterator[str]:
    """Rows; runs of one module prefix fold away, the first of them open while ``left`` rows last."""
    paths = [tuple(node.name.split(".")) if node.kind else () for node in drawn.nodes]
    for prefix, run in groupby(range(start, stop), key=lambda n: paths[n][: depth + 1]):
        held = list(run)
        first, end = held[0], held[-1] + 1
        deeper = [list(r) for _, r in groupby(held, key=lambda n: paths[n][: depth + 2])]
        if len(held) < STAGE[0] or len(prefix) <= depth:
            yield from (_row(drawn, wires, n, "") for n in held)
            left[0] -= len(held)
        elif len(held) > STAGE[1] and (len(deeper) == 1 or len(held) >= STAGE[0] * len(deeper)):
            yield from _stages(drawn, wires, first, end, depth + 1, left)
        else:
            name = ".".join(prefix)
            # Something must be in sight, however long it is.
            shown = " open" if left[0] >= len(held) or left[0] > OPEN - 10 else ""
            left[0] -= len(held) if shown else 1
            rows = "".join(_row(drawn, wires, n, name) for n in held)
            groups = sorted({g for n in held for g in drawn.nodes[n].groups})
            yield (
                f'<details class="net-stage"{shown} data-g="{" ".join(map(str, groups))}" role="listitem"><summary>'
                f'{wires.fold(first, end)}<span class="net-name">{escape(name)}</span>'
                f'<span class="net-kind">{formats.plural(len(held), "node")}</span></summary>'
                f'<div role="list">{rows}</div></details>'
            )


def _row(drawn: Network, wires: Wires, number: int, stage: str) -> str:
    node = drawn.nodes[number]
    kinds = [node.kind if node.kind not in SIGNS else "", *(f"· {_beside(name, node.name)}" for name in node.also)]
    fixed = f": {'partly ' if node.groups else ''}fixed: {node.reason}" if node.reason else ""
    return (
        f'<div class="net-row" role="listitem" data-n="{number}" title="{escape(node.name + fixed)}">'
        f'{wires.row(number)}<span class="net-name">{escape(_within(node, stage))}</span>'
        f'<span class="net-kind">{escape(" ".join(kinds).strip())}</span>{_bar(drawn, node)}'
        f'<span class="net-chips">{_chips(node)}</span><span class="net-width">{_width(node)}</span></div>'
    )


def _within(node: NetworkNode, stage: str) -> str:
    """A node's name under the heading of its stage. Where streams meet, the stage's own name is said again."""
    if not stage:
        return node.name
    told = stage if len(node.inputs) < 2 else stage.rpartition(".")[0]
    return node.name.removeprefix(told + ".") if told else node.name


def _beside(name: str, main: str) -> str:
    """What a module's name has that another's has not; a number alone would say nothing."""
    parts, other = name.split("."), main.split(".")
    while other and parts[0] == other[0] and not "".join(parts[1:]).isdigit() and len(parts) > 1:
        parts, other = parts[1:], other[1:]
    return ".".join(parts)


def _bar(drawn: Network, node: NetworkNode) -> str:
    """Width against the widest, as a root, so that narrow layers can be read; inside, what is kept of each group."""
    widest = max((n.width for n in drawn.nodes), default=0) or 1
    if not node.width:
        return '<span class="net-bar"></span>'
    parts = []
    for number, count in zip(node.groups, node.counts):
        group = drawn.groups[number]
        share = 1.0 if group.kept is None or node.kept is None else group.kept / max(group.total, 1)
        parts.append(f'<b style="{_hue(number)};width:{100 * count * share / node.width:.1f}%"></b>')
    fixed = node.width - sum(node.counts)
    parts += [f'<b class="none" style="width:{100 * fixed / node.width:.1f}%"></b>'] if fixed > 0 else []
    width = 100 * math.sqrt(node.width / widest)
    return f'<span class="net-bar"><i style="width:{width:.1f}%">{"".join(parts)}</i></span>'


def _chips(node: NetworkNode) -> str:
    shown = [f'<i class="chip"{_colour([g])}>{g + 1}</i>' for g in node.groups[:3]]
    shown += [f'<i class="more">+{len(node.groups) - 3}</i>'] if len(node.groups) > 3 else []
    shown += ['<i class="chip none">fixed</i>'] if node.reason and not node.groups else []
    return "".join(shown)


def _width(node: NetworkNode) -> str:
    return _change(node.width, node.kept) if node.width else ""


def _change(before: int, after: int | None) -> str:
    return f"{before:,}" if after is None or after == before else f"{before:,} → <b>{after:,}</b>"


def _button(number: int, group: NetworkGroup) -> str:
    kept = _change(group.total, group.kept)
    return (
        f'<button type="button" data-group="{number}" aria-pressed="false">'
        f'<i class="chip"{_colour([number])}>{number + 1}</i>'
        f'<span class="net-name" title="{escape(group.name)}">{escape(formats.shorten(group.name))}</span>'
        f'<span class="net-width">{kept}</span></button>'
    )


def _data(drawn: Network) -> dict[str, Any]:
    """What the page says of a node or a group that is pointed at."""
    groups = [
        {
            "name": g.name,
            "kind": g.kind,
            "kept": f"{g.total:,} {g.kind}s" if g.kept is None else f"{g.kept:,} of {g.total:,} {g.kind}s kept",
            "each": ""
            if g.params_each is None
            else f"{formats.amount(g.params_each)} parameters and {formats.amount(g.macs_each)} MACs each",
            "hue": _hue(number).partition(":")[2],
        }
        for number, g in enumerate(drawn.groups)
    ]
    nodes = [
        {"name": n.name, "kind": n.kind, "also": n.also, "inputs": n.inputs, "groups": n.groups, "reason": n.reason}
        | {"width": "" if not n.width else f"width {n.width:,}" + (f" → {n.kept:,}" if n.kept is not None else "")}
        for n in drawn.nodes
    ]
    return {"nodes": nodes, "groups": groups}
