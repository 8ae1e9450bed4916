"""The page of a comparison: who wins where, accuracy against every cost, all methods, all runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..records import Block, Comparison, Exemplar
from ..storage import write_text
from . import comparison_columns as columns
from . import comparison_tables as tables
from . import formats
from .comparison_chart import chart
from .page import Section, card, page, paragraph, tiles, titled
from .tables import Html, escape, pairs, tag

COMPARISON_FILE = "comparison.html"


def write_comparison(comparison: Comparison, folder: str | Path) -> Path:
    """Write ``comparison.html`` into the comparison's folder, atomically.

    Raises:
        RunError: the folder cannot be written.
        MissingExtraError: Plotly is not installed.
    """
    return write_text(Path(folder) / COMPARISON_FILE, render_comparison(comparison))


def render_comparison(comparison: Comparison) -> str:
    """A comparison as one self-contained HTML document; its runs' reports are linked, relative to its folder.

    Raises:
        MissingExtraError: Plotly is not installed (needed only when there is something to draw).
    """
    sections = [
        _verdicts(comparison),
        Section("Accuracy and cost", [chart(comparison)], "Chart"),
        _methods(comparison),
        _changed(comparison),
        *_search(comparison),
        Section(_counted("Failed runs", comparison.failures), [card(tables.failures(comparison))], "Failures"),
        _protocol(comparison),
        _runs(comparison),
    ]
    eyebrow = ["Secateurs", "comparison", f"{comparison.model} on {comparison.data}", f"by {comparison.granularity}"]
    return page(verdict(comparison), [_tiles(comparison)], sections, eyebrow=eyebrow, extra="comparison")


def verdict(comparison: Comparison) -> str:
    """Who wins where, or that nobody does, in a sentence."""
    ready = [block for block in comparison.blocks if columns.leader(block)]
    if not ready:
        why = (
            formats.plural(comparison.missing, "run") + " still to be made" if comparison.missing else "no run is there"
        )
        return f"Nothing to compare yet: {why if comparison.blocks or comparison.missing else 'no budget was given'}"
    won: dict[str, list[str]] = {}
    led: dict[str, list[str]] = {}
    alone = []
    for block in ready:
        if block.winner:
            won.setdefault(block.winner, []).append(block.budget)
        elif len(columns.methods_of(block)) == 1:
            alone.append(f"{block.budget} has only one method, {columns.leader(block)}")
        else:
            led.setdefault(columns.leader(block), []).append(block.budget)
    said = [f"{name} wins at {_listed(budgets)}" for name, budgets in won.items()]
    if led:
        nobody, undecided = "nobody" if said else "Nobody", [budget for budgets in led.values() for budget in budgets]
        leading = _leading(led, len(comparison.seeds))
        said.append(f"{nobody} wins at {_listed(undecided)}, where {leading}")
    return "; ".join([*said, *alone])


def _leading(led: dict[str, list[str]], seeds: int) -> str:
    why = "but not by enough" if seeds > 1 else "and one seed decides nothing"
    if len(led) == 1:
        return f"{next(iter(led))} leads, {why}"
    (first, where), *others = led.items()
    parts = [f"{first} leads at {_listed(where)}", *(f"{name} at {_listed(budgets)}" for name, budgets in others)]
    return f"{_listed(parts)}, {why}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _counted(title: str, things: Sequence[object]) -> str:
    return f"{title}: {len(things):,}" if things else title


def _tiles(comparison: Comparison) -> Html:
    failed, missing = len(comparison.failures), comparison.missing
    dense = None if comparison.dense is None else comparison.dense.figures.get("accuracy")
    interval = "no dense network has finished"
    if dense is not None:
        interval = formats.plural(dense.n, "seed")
        if dense.low is not None and dense.high is not None:  # of few seeds it may be wider than accuracies go
            low, high = max(0.0, dense.low), min(1.0, dense.high)
            interval = f"95% interval {formats.percent(low)} to {formats.percent(high)}"
    steps = "" if comparison.steps is None else f", {comparison.steps:,} steps a run"
    rows = {row.method: row.role for block in comparison.blocks for row in block.rows}
    methods = sum(role == "method" for role in rows.values())
    where = f"{formats.plural(len(rows) - methods, 'control')}, {formats.plural(len(comparison.blocks), 'budget')}"
    return tiles(
        [
            ("model", _breaking(formats.shorten(comparison.model, 40)), comparison.data),
            ("runs finished", formats.count(len(comparison.runs)), f"{failed:,} failed, {missing:,} missing"),
            ("dense accuracy", formats.percent(None if dense is None else dense.mean), interval),
            ("methods", formats.count(methods), where),
            ("seeds", formats.count(len(comparison.seeds)), ", ".join(map(str, comparison.seeds))),
            ("epochs", formats.count(comparison.epochs), f"a run, all together{steps}"),
        ]
    )


def _breaking(name: str) -> str:
    """A long name that may break behind its colons and dashes."""
    return name.replace(" ", "\u00a0").replace(":", ":\u200b").replace("-", "-\u200b").replace("/", "/\u200b")


def _verdicts(comparison: Comparison) -> Section:
    if not comparison.blocks:
        return Section("Budget by budget", [paragraph("No budget was compared.", "none")], "Verdict")
    cards = []
    for block in comparison.blocks:
        mark = tag(f"{block.winner} wins", "good") if block.winner else tag("no winner")
        head = Html(f"<h3>{escape(block.budget)} {mark}</h3>")
        cards.append(card(head, paragraph(block.sentence or "No run at this budget has finished yet.")))
    return Section("Budget by budget", [Html(f'<div class="grid verdicts">{"".join(cards)}</div>')], "Verdict")


def _methods(comparison: Comparison) -> Section:
    lead = (
        f"Accuracy is on the test set. Differences are to {comparison.against}, paired by seed, in percentage points. "
        "Figures are means over seeds. Level is who these seeds cannot tell from the method that leads. Latency is in "
        "units of the dense network’s, both timed in one round: milliseconds from rounds of different load cannot be "
        "compared. Press a heading to sort."
    )
    parts = [titled(block.budget, tables.budget_table(comparison, block)) for block in comparison.blocks]
    if not parts:
        return Section("Every method", [paragraph("No budget was compared.", "none")], "Methods")
    return Section("Every method", [paragraph(lead, "lead"), *parts], "Methods")


def _search(comparison: Comparison) -> list[Section]:
    if not comparison.tried:
        return []
    lead = (
        "Trials look at validation data alone. What did best there at a budget is what the tables above compare, over "
        "seeds and on the test set."
    )
    title = _counted("What the search tried", comparison.tried)
    return [Section(title, [paragraph(lead, "lead"), card(tables.trials(comparison))], "Search")]


def _changed(comparison: Comparison) -> Section:
    lead = (
        "Test examples whose commonest answer over the seeds is another one once the network is pruned "
        "(compression-identified exemplars, Hooker et al. 2019)."
    )
    counted = titled("How many, by method and budget", tables.flipped(comparison))
    galleries = [_gallery(block) for block in comparison.blocks if block.exemplars]
    return Section("Answers that pruning changes", [paragraph(lead, "lead"), counted, *galleries], "Changed answers")


def _gallery(block: Block) -> Html:
    whole = block.flipped.get(block.shown, len(block.exemplars))
    some = f"{len(block.exemplars)} of {whole:,}" if whole > len(block.exemplars) else f"all {len(block.exemplars)}"
    title = f"{block.budget}: what {block.shown or 'the best method'} changed ({some})"
    return titled(title, Html(f'<ul class="gallery">{"".join(map(_exemplar, block.exemplars))}</ul>'))


def _exemplar(found: Exemplar) -> Html:
    mood, what = "plain", "still wrong"
    if found.dense == found.label:
        mood, what = "bad", "lost"
    elif found.pruned == found.label:
        mood, what = "good", "gained"
    name = f"test example {found.index}"
    picture = f'<span class="blank">{found.index}</span>'
    if found.picture.startswith("data:image/"):
        picture = f'<img src="{escape(found.picture)}" alt="{name}" title="{name}">'
    return Html(
        f"<li>{picture}<div>{tag(what, mood)}</div><div>label <b>{found.label}</b></div>"
        f"<div>dense <b>{found.dense}</b> → pruned <b>{found.pruned}</b></div>"
        f'<div class="note">{formats.percent(found.share, 0)} of seeds</div></li>'
    )


def _protocol(comparison: Comparison) -> Section:
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in comparison.protocol)
    parts = [
        card(Html(f'<ul class="notes">{said}</ul>'))
        if said
        else paragraph("The comparison tells no protocol.", "none"),
        titled("Where it ran", pairs(comparison.provenance))
        if comparison.provenance
        else paragraph("No provenance was recorded.", "none"),
    ]
    if comparison.command:
        parts.append(
            titled("The command", Html(f'<pre class="command"><code>{escape(comparison.command)}</code></pre>'))
        )
    return Section("Protocol and provenance", parts, "Protocol")


def _runs(comparison: Comparison) -> Section:
    title = _counted("All runs", comparison.runs)
    if not comparison.runs:
        return Section(title, [paragraph("No run has finished yet.", "none")], "Runs")
    search = Html(
        '<div class="tools" hidden><label>show only <input type="search" name="filter" size="28" '
        'placeholder="method, budget, option …"></label><output class="count"></output></div>'
    )
    return Section(title, [Html(f'<div class="card runs">{search}{tables.run_table(comparison)}</div>')], "Runs")
