"""The page of one run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..records import RECORD_FILE, Record
from ..storage import write_text
from . import network, outcome, players, provenance, training
from .answers import answered, answers
from .headline import headline
from .page import page, write_library
from .repairs import repairs
from .scores import groups, scored

REPORT_FILE = "report.html"


def render(record: Record, *, library: str | None = None) -> str:
    """The report of a run as one HTML document, from the record alone; self-contained, unless it shares the chart
    library at the path ``library``.

    Raises:
        MissingExtraError: Plotly is not installed.
    """
    ranked = scored(record)
    sections = [
        outcome.summary(record),
        training.training(record),
        *([repairs(record)] if record.recovery else []),
        *([groups(record)] if ranked else [players.participation(record), training.market(record)]),
        *([answers(record)] if answered(record) else []),
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
    return page(headline(record), [outcome.tiles(record)], sections, eyebrow=[e for e in eyebrow if e], library=library)


def write(run_dir: str | Path, *, library: str | None = None) -> Path:
    """Write ``report.html`` beside the record of a run folder, atomically.

    Args:
        library: see :func:`render`.

    Raises:
        RunError: no record there, not one of ours, or the folder cannot be written.
        MissingExtraError: Plotly is not installed.
    """
    record = Record.read(run_dir)
    folder = Path(run_dir)
    folder = folder if folder.is_dir() else folder.parent
    return write_text(folder / REPORT_FILE, render(record, library=library))


def write_reports(runs: Iterable[Path], beside: Path) -> None:
    """Write the reports of many runs, where one is missing or older than its record. They share the chart library in
    the folder ``beside``, which is above them all."""
    for run in runs:
        page, record = run / REPORT_FILE, run / RECORD_FILE
        if not page.exists() or page.stat().st_mtime_ns < record.stat().st_mtime_ns:
            write(run, library=os.path.relpath(write_library(beside), run).replace(os.sep, "/"))
