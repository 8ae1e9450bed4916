"""One-shot methods: a score ranks the groups once, and the lowest leave. There is no game, so none of its words.

Nothing in a record says so outright: who ranked wrote scores as benefits, and costs of zero, and certifies nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..records import PlayersBlock, Record
from . import formats
from .figures import KEPT, REMOVED, Axis, Figure, histogram
from .page import Section, grid, paragraph

# What the score is; the highest stay.
_NAMES = {
    "magnitude": "the size (ℓ2 norm) of its weights",
    "taylor": "|⟨∂L/∂θ, θ⟩|, an estimate of the loss that it holds up",
    "random": "a random number",
}
LEVEL = "level "  # how the phases of such runs are called
_BINS = 48
_WIDE = 50.0  # largest of smallest score, from which they are drawn on a logarithmic axis
_DECADES = 6.0  # what a logarithmic axis shows below the largest


def scored(record: Record) -> bool:
    """Whether groups were ranked by a score instead of playing a game."""
    players = record.players
    return record.certificate is None and players is not None and bool(players.cost) and not any(players.cost)


def by_level(record: Record) -> bool:
    """Whether groups left at the ends of several trainings instead of all at once."""
    return any(phase.startswith(LEVEL) for phase in record.train.steps)


def groups(record: Record) -> Section:
    """How scores are spread over the groups that were kept and those that were removed."""
    players = record.players
    assert players is not None
    kept, number = sum(players.kept), len(players.kept)
    score = _NAMES.get(record.method, "a score")
    sample = " These counts are of a sample." if players.sampled else ""
    lead = f"Each group got one score, {score}. Those with the highest stayed: {kept:,} of {number:,}.{sample}"
    if by_level(record):
        lead = (
            f"At the end of each level the groups with the lowest scores left; {kept:,} of {number:,} stayed. These "
            f"are the scores at the last level, at which those that left before had no weights any more.{sample}"
        )
    return Section("Groups at the cut", [paragraph(lead, "lead"), grid(_histogram(players))], "Groups")


def _histogram(players: PlayersBlock) -> Figure:
    finite = [(v, k) for v, k in zip(players.benefit, players.kept) if math.isfinite(v)]
    values = [v for v, _ in finite] or [0.0]
    positive = [v for v in values if v > 0]
    logarithmic = bool(positive) and min(values) >= 0 and max(positive) > _WIDE * min(positive)
    note = ""
    if logarithmic:
        high = math.log10(max(positive))
        low = max(math.log10(min(positive)), high - _DECADES)
        place = {v: max(low, math.log10(v)) if v > 0 else low for v in values}
        left = sum(v <= 10**low for v in values)
        note = f" {left:,} of at most {formats.significant(10**low)} stand at the left edge." if left > 1 else ""
    else:
        low, high = min(values), max(values)
        place = {v: v for v in values}
    width = (high - low) / _BINS or 1.0
    axis = Axis("score (log scale)" if logarithmic else "score", extra=_ticks(low, high) if logarithmic else {})
    split = {fate: [place[v] for v, k in finite if k == (fate == "kept")] for fate in ("removed", "kept")}
    return histogram(
        "Scores, kept against removed",
        {"removed": (split["removed"], REMOVED), "kept": (split["kept"], KEPT)},
        axis,
        width=width,
        span=(low, low + _BINS * width),
        noun="groups",
        name=(lambda v: formats.significant(10**v)) if logarithmic else formats.significant,
        alt=f"Histogram of scores: {len(split['removed']):,} groups removed, {len(split['kept']):,} kept.",
        caption="Groups leave in order of their score until the budget holds." + _exceptions(finite) + note,
    )


def _ticks(low: float, high: float) -> dict[str, list[float] | list[str]]:
    """Powers of ten, and three times them where there are few."""
    powers = [float(p) for p in range(math.floor(low), math.ceil(high) + 1)]
    steps = powers if high - low > 3 else sorted(powers + [p + math.log10(3) for p in powers])
    shown = [p for p in steps if low <= p <= high]
    return {"tickvals": shown, "ticktext": [formats.significant(10**p, 1) for p in shown]}


def _exceptions(scores: Sequence[tuple[float, bool]]) -> str:
    highest = max((v for v, kept in scores if not kept), default=-math.inf)
    low = sum(kept and v < highest for v, kept in scores)
    return f" {low:,} were kept below a removed one: by a layer’s limit, or because they still fitted." if low else ""
