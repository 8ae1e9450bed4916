"""What came out: the figures that matter, the summary table, the layers, the certificate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..records import Certificate, LayerRow, Measured, Record
from . import formats
from .headline import NAMES, show, used
from .page import Section, card, grid, paragraph, titled
from .page import tiles as page_tiles
from .scores import scored
from .tables import Bar, Column, Html, bars, escape, pairs, table, tag

TEST = "test, read once"
Form = Callable[[float | None], str]


def tiles(record: Record) -> Html:
    """Accuracy and the sizes, pruned against dense; a tile only where there is a figure."""
    dense, pruned = record.dense, record.pruned
    out: list[tuple[str, str, str]] = []
    if pruned.accuracy is not None:
        detail = "" if dense.accuracy is None else f"dense {formats.percent(dense.accuracy)}; "
        detail += "read once, after removal"
        out.append(("test accuracy", formats.percent(pruned.accuracy), detail))
    if record.groups_total:
        kept = f"{formats.count(record.groups_kept)} of {formats.count(record.groups_total)}"
        out.append(("groups", formats.percent(record.groups_kept / record.groups_total, 1) + " kept", kept))
    rows = [
        ("MACs", pruned.macs, dense.macs, "fewer", "more", formats.amount),
        ("parameters", pruned.params, dense.params, "fewer", "more", formats.amount),
        ("saved file", pruned.file_bytes, dense.file_bytes, "smaller", "larger", formats.size),
        ("latency", pruned.latency_ms, dense.latency_ms, "faster", "slower", formats.milliseconds),
    ]
    for label, small, large, more, less, form in rows:
        if small and large:
            out.append((label, formats.times(large, small, more, less), f"{form(small)} of {form(large)}"))
    return page_tiles(out)


def summary(record: Record) -> Section:
    """Dense, gated, cut and pruned, side by side; then the budget; then what the run had to say."""
    title = "What was asked, what you get"
    if not any(m.model_dump(exclude_none=True) for m in (record.dense, record.gated, record.pruned)):
        body = [paragraph("This run measured no network, so there is nothing to compare.", "none")]
    else:
        body = [card(_networks(record))]
    budget = [titled("Budget", _budget(record))] if record.budget else []
    said = [titled("Notes of the run", _notes(record.notes))] if record.notes else []
    return Section(title, [*body, grid(*budget, *said)] if budget or said else body, "Summary")


def _networks(record: Record) -> Html:
    dense, pruned = record.dense, record.pruned
    blocks: list[tuple[Column, Measured]] = [
        (Column("dense", "for comparison"), dense),
        (Column("trained" if scored(record) else "gated", "before removal", aside=True), record.gated),
        (Column("pruned", "after removal and recovery", strong=True), pruned),
    ]
    if record.cut is not None:
        blocks.insert(2, (Column("cut", "before recovery", aside=True), record.cut))
    measured = [block for _, block in blocks]

    def row(name: str, note: str, form: Form, field: str, verdict: tuple[str, str] | str) -> list[str | Html]:
        pick = [getattr(block, field) for block in measured]
        if isinstance(verdict, tuple):
            verdict = _ratio(getattr(dense, field), getattr(pruned, field), *verdict)
        return [_label(name, note), *(form(value) for value in pick), verdict]

    fewer, smaller = ("fewer", "more"), ("smaller", "larger")
    rows = [
        row("accuracy", TEST, formats.percent, "accuracy", _change(dense.accuracy, pruned.accuracy)),
        row("loss", TEST, formats.plain, "loss", ""),
        _groups(record, measured),
        row("parameters", "", formats.count, "params", fewer),
        row("MACs", "one example", formats.amount, "macs", fewer),
        row("memory", "parameters and buffers", formats.size, "bytes", smaller),
        row("file", "saved weights", formats.size, "file_bytes", smaller),
        _latency(record, measured, _ratio(dense.latency_ms, pruned.latency_ms, "faster", "slower")),
    ]
    columns = [Column("", align="left"), *(column for column, _ in blocks), Column("pruned against dense")]
    whole = table(
        columns,
        rows,
        caption="Accuracy and loss are on the test set. The column that counts is the pruned network’s.",
    )
    return Html(whole + _aside(columns, rows))


def _aside(columns: Sequence[Column], rows: Sequence[Sequence[str | Html]]) -> Html:
    """The columns that a narrow screen leaves out above, in a table of their own, which only such a screen shows."""
    shown = [0, *(i for i, column in enumerate(columns) if column.aside)]
    left = [[row[i] for i in shown] for row in rows if any(row[i] not in ("", formats.MISSING) for i in shown[1:])]
    heads = [replace(columns[i], aside=False) for i in shown]
    title = "On the way: " + ", ".join(f"{c.title} is {c.note}" for c in heads[1:]) + "."
    return Html(f'<div class="narrow">{table(heads, left, caption=title)}</div>') if left else Html("")


def _label(name: str, note: str) -> Html:
    return Html(f'{escape(name)}<span class="note">{escape(note)}</span>' if note else escape(name))


def _ratio(large: float | None, small: float | None, more: str, less: str) -> str:
    return formats.times(large, small, more, less) if large and small else ""


def _change(dense: float | None, pruned: float | None) -> str:
    return "" if dense is None or pruned is None else formats.points(pruned - dense)


def _groups(record: Record, measured: Sequence[Measured]) -> list[str | Html]:
    cells = []
    for block in measured:
        if block is record.gated and not scored(record):
            active = _active(record)
            cells.append(formats.MISSING if active is None else f"{active:,} active")
        else:
            whole = block is record.dense or block is record.gated
            cells.append(formats.count(record.groups_total if whole else record.groups_kept))
    share = formats.percent(record.groups_kept / record.groups_total, 1) + " kept" if record.groups_total else ""
    return [_label("groups", "" if scored(record) else "players"), *cells, share]


def _active(record: Record) -> int | None:
    """Players with s ≥ ε at the cut, when all of them are listed."""
    players = record.players
    if players is None or players.sampled:
        return None
    return sum(s >= players.epsilon for s in players.participation)


def _latency(record: Record, measured: Sequence[Measured], verdict: str) -> list[str | Html]:
    where = f"median, batch {record.batch_latency}" + (f", {formats.threads(record.threads)}" if record.threads else "")
    cells: list[str | Html] = []
    for block in measured:
        text = escape(formats.milliseconds(block.latency_ms))
        if block.latency_ms is not None and block.latency_spread_ms is not None:
            low, high = (formats.significant(v) for v in block.latency_spread_ms)
            text = Html(f'{text}<span class="note">{escape(low)} to {escape(high)}</span>')
        cells.append(text)
    return [_label("latency", f"{where}, quartiles"), *cells, verdict]


def _budget(record: Record) -> Html:
    rows = []
    for resource, asked in record.budget.items():
        dense, got = used(record, resource, record.dense), used(record, resource, record.pruned)
        target = record.targets.get(resource)
        if target is None and resource != "latency" and asked <= 1 and dense:
            target = asked * dense
        target = asked if target is None and (resource == "latency" or asked > 1) else target
        met: Html | str = formats.MISSING
        if got is not None and target is not None:
            met = tag("met", "good") if got <= target * (1 + 1e-6) else tag("not met", "bad")
        share = formats.significant(got / dense) if got is not None and dense else formats.MISSING
        rows.append([NAMES.get(resource, resource), show(resource, target), show(resource, got), share, met])
    return table(["resource", "at most", "used", "of dense", "held"], rows)


def _notes(notes: Sequence[str]) -> Html:
    return Html(f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>')


def layers(record: Record) -> Section:
    """Each layer's width before and after, and what goes with it."""
    title = "Layer widths, before and after"
    if not record.layers:
        return Section(
            title,
            [paragraph("The record lists no layers of players, so there are no widths to show.", "none")],
            "Layers",
        )
    rows = [Bar(row.name, row.total, row.kept, _remark(row)) for row in record.layers]
    kept, total = sum(r.kept for r in record.layers), sum(r.total for r in record.layers)
    caption = f"Kept (blue) of all (grey): {kept:,} of {total:,} groups in {formats.plural(len(rows), 'layer')}."
    parts = [bars(rows, caption=caption)]
    tied = [row for row in record.layers if row.tied_to]
    if tied:
        lines = table(["layer", Column("tied to", align="left")], [[r.name, ", ".join(r.tied_to)] for r in tied])
        parts.append(Html(f"<details><summary>What is removed with a group of each layer</summary>{lines}</details>"))
    return Section(title, [card(*parts)], "Layers")


def _remark(row: LayerRow) -> str:
    floor = f", at least {row.minimum:,}" if row.minimum > 1 else ""
    step = f", a multiple of {row.multiple:,}" if row.multiple > 1 else ""
    return f"{row.kind}{floor}{step}"


def certificate(record: Record) -> Section:
    """How near the final profile is to an equilibrium, in a sentence and in figures."""
    title, found = "Certificate of the equilibrium", record.certificate
    if found is None:
        text = f"No certificate: the method {record.method!r} made no statement about an equilibrium."
        return Section(title, [paragraph(text, "none")], "Certificate")
    rows = {
        "game": {
            "market": "the market (utility with the clearing price)",
            "paper": "as printed (β, γ, η)",
        }.get(found.scope, found.scope),
        "Nash gap, largest": formats.significant(found.nash_gap),
        "Nash gap, median": formats.significant(found.nash_gap_median),
        "dominated players": f"{found.dominated:,} (of them removed: {found.dominated_and_removed:,})",
        "undominated and kept": formats.count(found.undominated_and_kept),
        "spectral radius": "not computed"
        if found.spectral_radius is None
        else formats.significant(found.spectral_radius),
        "best responses contract": {True: "yes", False: "no", None: "not decided"}[found.contraction],
    }
    if found.market_clearing_error is not None:
        rows["market clearing error"] = f"{formats.significant(found.market_clearing_error)} of dense"
    left = titled("In figures", pairs(rows))
    return Section(
        title,
        [card(paragraph(_sentence(found)), kind="callout"), grid(left, _conditions(found))],
        "Certificate",
    )


def _sentence(found: Certificate) -> str:
    if found.sentence:
        return found.sentence
    gain = f"No player gains more than {formats.significant(found.nash_gap)} by moving alone"
    contraction = {
        True: "; best responses contract, so this equilibrium is the only one near",
        False: "; best responses do not contract, so other equilibria may exist",
        None: "",
    }[found.contraction]
    removed = f"{found.dominated_and_removed:,} of {found.dominated:,} dominated players were removed"
    return f"{gain}; {removed}{contraction}."


def _conditions(found: Certificate) -> Html:
    title = "Condition numbers, σ max / σ min"
    if not found.condition_numbers:
        return titled(title, paragraph("No condition numbers were computed.", "none"))
    rows = [[name, formats.significant(value)] for name, value in found.condition_numbers.items()]
    return titled(title, table(["layer", "condition number"], rows))
