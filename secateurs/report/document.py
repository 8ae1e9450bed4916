"""The page of one run."""

from __future__ import annotations

from pathlib import Path

from ..records import Record
from ..storage import write_text
from . import network, outcome, players, provenance, training
from .headline import headline
from .page import page
from .repairs import repairs
from .scores import groups, scored

REPORT_FILE = "report.html"


def render(record: Record) -> str:
    """The report of a run as one self-contained HTML document, from the record alone.

    Raises:
        MissingExtraError: Plotly is not installed.
    """
    ranked = scored(record)
    sections = [
        outcome.summary(record),
        training.training(record),
        *([repairs(record)] if record.recovery else []),
        *([groups(record)] if ranked else [players.participation(record), training.market(record)]),
        outcome.layers(record),
        *([network.section(record.network)] if record.network is not None else []),
        *([] if ranked else [outcome.certificate(record)]),
        provenance.cost(record),
        provenance.provenance(record),
    ]
    eyebrow = [
        "Secateurs",
        f"{record.method} on {record.model}",
        record.data,
        f"seed {record.seed}",
        record.created,
    ]
    return page(headline(record), [outcome.tiles(record)], sections, eyebrow=[e for e in eyebrow if e])


def write(run_dir: str | Path) -> Path:
    """Write ``report.html`` beside the record of a run folder, atomically.

    Raises:
        RunError: no record there, not one of ours, or the folder cannot be written.
        MissingExtraError: Plotly is not installed.
    """
    record = Record.read(run_dir)
    folder = Path(run_dir)
    folder = folder if folder.is_dir() else folder.parent
    return write_text(folder / REPORT_FILE, render(record))
