"""Runs summed up: rows over seeds, paired differences, a verdict for every budget."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..records import Block, Comparison, Failure, Record, Row, RunRow
from ..spec import Budget
from .carry import FAILURES, RUNS, Place, ended, failure_at
from .exemplars import Answers, changed
from .index import Index
from .joining import standing
from .protocol import command, protocol, provenance
from .request import Asked
from .schedule import DENSE, Cell, Job, Schedule
from .search import tried
from .verdict import difference, estimate, judge, role

FIGURES = (
    "accuracy",
    "loss",
    "validation",
    "params",
    "macs",
    "bytes",
    "file_bytes",
    "nonzero",
    "latency",
    "latency_ms",
    "seconds",
    "peak_memory",
    "peak_device_memory",
    "joules",
    "worst_class",
    "worst_drop",
    "calibration_error",
    "agreement",
    "kl",
    "membership_auc",
)
_COUNTED = {"params": "params_count", "macs": "macs_count", "bytes": "bytes_count"}  # the index's names of amounts


def summarise(asked: Asked, folder: str | Path) -> Comparison:
    """What is known of a comparison from the runs in its folder, finished or not."""
    folder = Path(folder)
    place = Place(folder)
    schedule = Schedule(asked, ended(place))
    with Index(folder) as index:
        found = {Path(row["folder"]).name: row for row in index.rows()}
    runs: dict[str, RunRow] = {}
    table: dict[Cell, list[RunRow]] = {}
    for cell in schedule.cells():
        jobs = [job for job in schedule.jobs_of(cell) if _finished(schedule, job) and job.key in found]
        table[cell] = [_run(job, found[job.key], asked, folder) for job in jobs]
        runs.update((run.hash, run) for run in table[cell])
    failures = _failures(place, schedule, asked)
    answers = Answers(folder)
    blocks = [_block(asked, budget, table, failures, answers) for budget in asked.budgets]
    answers.keep()
    first = next(iter(runs.values()), None)
    record = Record.read(folder / first.folder) if first is not None else None
    return Comparison(
        model=asked.model,
        data=asked.data,
        granularity=asked.granularity,
        epochs=asked.epochs,
        steps=record.train.steps.get("total") if record is not None else None,
        seeds=list(asked.seeds),
        methods=list(asked.methods),
        against=asked.against,
        protocol=protocol(asked, record),
        dense=_row("dense", table[DENSE], failures) if table[DENSE] else None,
        blocks=blocks,
        runs=list(runs.values()),
        failures=failures,
        tried=[] if asked.search is None else tried(folder),
        missing=schedule.left(),
        provenance=provenance(record),
        command=command(asked),
    )


def summed_up(folder: str | Path) -> Comparison:
    """:func:`summarise`, of what a folder was asked for.

    Raises:
        RunError: no comparison lies there.
    """
    asked = standing(Path(folder))
    if asked is None:
        raise RunError(f"no comparison in {str(folder)!r}; `secateurs compare --out DIR` makes one")
    return summarise(asked, folder)


def _finished(schedule: Schedule, job: Job) -> bool:
    outcome = schedule.ended.get(job.key)
    return outcome is not None and outcome.tested


def _run(job: Job, found: Mapping[str, Any], asked: Asked, folder: Path) -> RunRow:
    """A run's row, from the index's."""
    given = {name: found.get(_COUNTED.get(name, name)) for name in FIGURES if name != "nonzero"}
    if asked.granularity == "weight" and given["params"] is not None and found.get("groups_count"):
        given["nonzero"] = given["params"] - found["groups_count"] + found["groups_kept"]
    if job.label == "dense" and given["latency_ms"] is not None:
        given["latency"] = 1.0
    where = f"{RUNS}/{job.key}"
    return RunRow(
        hash=job.key,
        folder=where,
        method=job.label,
        budget=job.budget,
        seed=job.config.seed,
        options=_own(json.loads(found["options"] or "{}"), asked),
        command=f"secateurs export {shlex.quote(str(folder / where))} --onnx {job.label.replace(':', '-')}.onnx",
        **given,
    )


def _own(options: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """Options of a run beside those that all were given."""
    return {k: v for k, v in options.items() if k not in asked.options and k != "of"}


def _row(method: str, runs: Sequence[RunRow], failures: Sequence[Failure], budget: str = "") -> Row:
    figures = {}
    for name in FIGURES:
        values = [float(v) for run in runs if (v := getattr(run, name)) is not None]
        if values:
            figures[name] = estimate(values)
    return Row(
        method=method,
        role=role(method),
        runs=[run.hash for run in runs],
        failed=sum(f.method == method and f.budget == budget for f in failures),
        options=dict(runs[0].options) if runs else {},
        figures=figures,
    )


def _block(
    asked: Asked,
    asked_for: Budget,
    table: Mapping[Cell, Sequence[RunRow]],
    failures: Sequence[Failure],
    answers: Answers,
) -> Block:
    budget = str(asked_for)
    cells = {cell.label: runs for cell, runs in table.items() if cell.shown == budget}
    by = {label: _by_seed(runs) for label, runs in cells.items()}
    rows = [_row(label, runs, failures, budget) for label, runs in cells.items()]
    for row in rows:
        if row.method != asked.against and by[row.method]:
            row.against = difference(by[row.method], by.get(asked.against, {}))
    winner, sentence = judge(budget, rows, by)
    dense = table[DENSE]
    flips = {label: answers.flipped(dense, runs) for label, runs in cells.items() if runs and dense}
    shown = max((r for r in rows if r.role == "method" and r.figures), key=_accuracy, default=None)
    return Block(
        budget=budget,
        amounts=asked_for.given,
        rows=sorted(rows, key=_accuracy, reverse=True),
        winner=winner,
        sentence=sentence,
        flipped=flips,
        shown=shown.method if shown is not None else "",
        exemplars=changed(answers, dense, cells[shown.method], asked) if shown is not None and dense else [],
    )


def _by_seed(runs: Sequence[RunRow]) -> dict[int, float]:
    return {run.seed: run.accuracy for run in runs if run.accuracy is not None}


def _accuracy(row: Row) -> float:
    found = row.figures.get("accuracy")
    return -1.0 if found is None else found.mean


def _failures(place: Place, schedule: Schedule, asked: Asked) -> list[Failure]:
    """Runs that failed, of those that are asked for."""
    wanted = {job.key for cell in schedule.cells() for job in schedule.everything(cell)}
    out = []
    for path in sorted((place.folder / FAILURES).glob("*.json")):
        if path.stem in wanted and (told := failure_at(path)) is not None:
            names = {"method": told["label"], "budget": told["budget"], "seed": told["seed"], "error": told["error"]}
            options = _own(told["config"]["options"], asked)
            out.append(Failure(hash=path.stem, options=options, **names))
    return out
