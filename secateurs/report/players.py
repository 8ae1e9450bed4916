"""The players at the moment of the cut: the paper's Figure 2, and who was worth its cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..records import PlayersBlock, Record
from . import formats
from .figures import CYCLE, INK, KEPT, MUTED, REMOVED, Axis, Cloud, Figure, histogram, scatter
from .page import Section, grid, paragraph

DRAWN = 4000  # points of a scatter beyond which a page becomes slow


def participation(record: Record) -> Section:
    """How participations are spread, with ε marked, and benefit against cost, with the removed marked."""
    title, players = "Players at the cut", record.players
    if players is None or not players.participation:
        text = "The record lists no players: this method has no participations, or none were kept."
        return Section(title, [paragraph(text, "none")], "Players")
    charts = grid(_histogram(players), _scatter(record, players))
    return Section(title, [paragraph(_shape(players), "lead"), charts], "Players")


def _shape(players: PlayersBlock) -> str:
    s, eps, number = players.participation, players.epsilon, len(players.participation)
    low, middle = sum(v < eps for v in s), sum(0.1 < v < 0.9 for v in s)
    parts = [
        f"{low:,} of {number:,} players ({formats.percent(low / number, 1)}) are below ε = {eps:g}",
        f"{middle:,} lie between 0.1 and 0.9",
    ]
    saved = sum(v < eps and kept for v, kept in zip(s, players.kept))
    lost = sum(v >= eps and not kept for v, kept in zip(s, players.kept))
    parts += [f"{saved:,} below ε were kept all the same"] if saved else []
    parts += [f"{lost:,} at or above ε were removed all the same"] if lost else []
    sample = " These counts are of a sample of the players." if players.sampled else ""
    return "; ".join(parts) + "." + sample


def _histogram(players: PlayersBlock) -> Figure:
    kept = [s for s, k in zip(players.participation, players.kept) if k]
    removed = [s for s, k in zip(players.participation, players.kept) if not k]
    split = f"{len(removed):,} removed, {len(kept):,} kept; ε is {players.epsilon:g}"
    return histogram(
        "Participation",
        {"removed": (removed, REMOVED), "kept": (kept, KEPT)},
        Axis("participation s", range=(-0.02, 1.02)),
        # ε should be an edge between bins, not inside one.
        width=0.01 if players.epsilon < 0.02 else 0.02,
        noun="players",
        mark=(players.epsilon, f"ε = {players.epsilon:g}"),
        alt=f"Histogram of participations: {split}.",
        caption="Heaps at zero and at one: the players decided. What lies between was decided by the cut.",
    )


def _scatter(record: Record, players: PlayersBlock) -> Figure:
    chosen = _sample(players)
    part = f" {len(chosen):,} of {len(players.kept):,} players are drawn."
    whole = len(chosen) == len(players.kept)
    lowest, highest = min(players.cost), max(players.cost)
    return scatter(
        "Benefit against cost",
        list(_clouds(record, players, chosen)),
        Axis("cost (marginal rent)", log=lowest > 0 and highest > 30 * lowest),
        Axis("benefit"),
        alt=f"Benefit against cost of {len(chosen):,} players: kept ones are dots, removed ones crosses.",
        caption="Who brings much for little stays: high and left. Point at a player for its layer."
        + ("" if whole else part),
    )


def _clouds(record: Record, players: PlayersBlock, chosen: Sequence[int]) -> Iterator[Cloud]:
    """One colour per layer while the palette lasts, else one per fate; the shape always tells the fate."""
    layers = sorted(set(players.layer))
    by_layer = 1 < len(layers) <= len(CYCLE)
    colours = dict(zip(layers, CYCLE)) if by_layer else {}
    dot = 8 if len(chosen) <= 400 else 6
    # Crosses come last: dots would bury them, while a cross leaves the dot under it in sight.
    for kept, symbol, size in ((True, "circle", dot), (False, "x-thin", 6)):
        fate = "kept" if kept else "removed"
        for layer in layers if by_layer else [None]:
            mine = [i for i in chosen if players.kept[i] == kept and layer in (None, players.layer[i])]
            named = [(_name(record, players.layer[i]), players.participation[i]) for i in mine]
            yield Cloud(
                fate,
                [players.cost[i] for i in mine],
                [players.benefit[i] for i in mine],
                colours[layer] if layer is not None else (KEPT if kept else REMOVED),
                symbol,
                size,
                0.8 if kept else 0.6,
                [f"{name}, {fate}, s = {s:.3g}" for name, s in named],
                in_legend=not by_layer,
            )
    if by_layer:  # the legend explains colour and shape apart
        for layer, colour in colours.items():
            yield Cloud(formats.shorten(_name(record, layer)), [None], [None], colour, "square", 9)
        yield Cloud("kept", [None], [None], INK, "circle", 8)
        yield Cloud("removed", [None], [None], MUTED, "x-thin", 7)


def _name(record: Record, layer: int) -> str:
    return record.layers[layer].name if 0 <= layer < len(record.layers) else f"layer {layer}"


def _sample(players: PlayersBlock) -> list[int]:
    """Which players are drawn: all, or every n-th removed and m-th kept, the same on every rendering."""
    chosen: list[int] = []
    for fate in (True, False):
        mine = [i for i, kept in enumerate(players.kept) if kept is fate]
        stride = max(1, -(-len(mine) * 2 // DRAWN))
        chosen += mine[::stride]
    return chosen
