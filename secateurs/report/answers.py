"""What the answers to the test set tell beside accuracy: which classes pay, how sure, how faithful, how private."""

from __future__ import annotations

from ..records import Fidelity, Measured, Record
from . import formats
from .page import Section, card, grid, paragraph, titled
from .tables import Column, Html, escape, pairs, table, tag

SHOWN = 20  # classes in the table; of more, those that lost most


def answered(record: Record) -> bool:
    """Whether the record has any of it."""
    return record.pruned.class_accuracy is not None


def answers(record: Record) -> Section:
    """The section of a run's page."""
    facts = pairs({name: _noted(value, note) for name, value, note in _facts(record)})
    return Section(
        "What the answers tell",
        [
            paragraph(_lead(record), "lead"),
            grid(titled("Class by class", _classes(record)), titled("Beside accuracy", facts)),
        ],
        "Answers",
    )


def _lead(record: Record) -> str:
    found = record.fidelity
    if found is None:
        return "On the test set, after removal. This run has no dense network that its answers could be held against."
    same = (
        f"The pruned network answers {formats.percent(found.agreement, 1)} of the test examples as the dense one does"
    )
    return f"{same}: {found.flipped:,} that were right became wrong, {found.gained:,} that were wrong became right."


def _classes(record: Record) -> Html:
    pruned, dense = record.pruned.class_accuracy or [], record.dense.class_accuracy or []
    worst = record.fidelity.worst_drop_class if record.fidelity is not None else None
    order = list(range(len(pruned)))
    if len(order) > SHOWN:
        order = sorted(order, key=lambda i: _change(dense, pruned, i) or 0.0)[:SHOWN]
    rows = []
    for i in order:
        change = _change(dense, pruned, i)
        falls = i == worst and change is not None and change < 0
        name = Html(f"{i} {tag('largest drop', 'bad')}") if falls else str(i)
        before = [formats.percent(dense[i], 1)] if dense else []
        rows.append([name, *before, formats.percent(pruned[i], 1), "" if change is None else formats.points(change, 1)])
    columns: list[Column | str] = [Column("class", align="left"), *(["dense"] if dense else []), "pruned", "change"]
    left = f" The {SHOWN} of {len(pruned)} classes that lost most." if len(order) < len(pruned) else ""
    return table(columns, rows, caption=f"Accuracy on the test examples of each class.{left}")


def _change(dense: list[float | None], pruned: list[float | None], i: int) -> float | None:
    before, after = dense[i] if dense else None, pruned[i]
    return None if before is None or after is None else after - before


def _facts(record: Record) -> list[tuple[str, str, str]]:
    """Name, value, and what it means."""
    dense, pruned, found = record.dense, record.pruned, record.fidelity
    out = [
        (
            "calibration error",
            _beside(formats.percent(pruned.calibration_error, 1), dense.calibration_error),
            "how far confidence is from accuracy, on average; 0% is what it says",
        )
    ]
    if found is not None:
        out += _faithful(found)
    if pruned.membership_auc is not None:
        beside = "" if dense.membership_auc is None else f" (dense {dense.membership_auc:.3f})"
        meaning = "chance that a training example has the smaller loss than a test example; 0.5 gives nothing away"
        out.append(("membership", f"{_auc(pruned)}{beside}", meaning))
    return out


def _faithful(found: Fidelity) -> list[tuple[str, str, str]]:
    return [
        ("agreement", formats.percent(found.agreement), "share of test examples with the dense network's answer"),
        ("divergence", f"{formats.significant(found.kl)} nats", "mean KL of the pruned from the dense answers"),
    ]


def _auc(measured: Measured) -> str:
    assert measured.membership_auc is not None
    low, high = measured.membership_interval or (None, None)
    spread = "" if low is None or high is None else f", {low:.3f} to {high:.3f}"
    return f"AUC {measured.membership_auc:.3f}{spread}"


def _beside(shown: str, dense: float | None) -> str:
    return shown if dense is None else f"{shown} (dense {formats.percent(dense, 1)})"


def _noted(value: str, note: str) -> Html:
    return Html(f'{escape(value)}<span class="note">{escape(note)}</span>')


def resources(record: Record) -> list[Html]:
    """Memory and energy of the training, where the platform told them."""
    facts = {}
    if record.peak_memory is not None:
        facts["peak memory"] = _noted(formats.size(record.peak_memory), "beyond what was there before the training")
    if record.peak_device_memory is not None:
        facts["peak memory, accelerator"] = _noted(formats.size(record.peak_device_memory), "as torch allocated it")
    if record.joules is not None:
        facts["energy"] = _noted(f"{formats.significant(record.joules)} J", "of the machine while it trained")
    return [card(pairs(facts))] if facts else []
