"""Grids of small experiments that can be killed and continued: one file per finished cell.

A cell is a function's name and its arguments; its result is a dict of numbers. Results are stored under the
hash of the cell, so the same experiment is never run twice, and a grid continues where it stood.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ..storage import write_json

Result = dict[str, Any]
Kinds: TypeAlias = Mapping[str, Callable[..., Result]]
"""Functions that carry cells out, by name."""


@dataclass(frozen=True)
class Cell:
    """One experiment.

    Attributes:
        kind: which function runs it. settings: its arguments, JSON-able. seed: last argument.
    """

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def key(self) -> str:
        """Hash of what is run."""
        text = json.dumps([self.kind, dict(self.settings), self.seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Asked:
    """What whoever asks for a reproduction decides.

    Attributes:
        data: as the reproduction says it needs it; empty where it needs none.
        quick: only check that the code runs, on a little data.
        seeds: how many, from 0; None: as the reproduction says.
        printed_seeds: the same for what stands beside the main comparison.
        jobs: cells side by side. progress: show a bar on a terminal.
        cache: where finished cells are kept; None: nowhere.
    """

    data: str = ""
    quick: bool = False
    seeds: int | None = None
    printed_seeds: int | None = None
    jobs: int = 1
    progress: bool = True
    cache: Path | None = None

    def results(self, kinds: Kinds, cells: Sequence[Cell]) -> list[Result]:
        """:func:`run_cells` as asked."""
        return run_cells(cells, kinds, self.cache, jobs=self.jobs, progress=self.progress)

    def over_seeds(
        self, kinds: Kinds, kind: str, settings: Sequence[Mapping[str, Any]], count: int
    ) -> list[list[Result]]:
        """For every setting, its results at seeds 0, 1, …"""
        found = self.results(kinds, [Cell(kind, s, seed) for s in settings for seed in range(count)])
        return [found[i * count : (i + 1) * count] for i in range(len(settings))]


def run_cells(
    cells: Sequence[Cell],
    kinds: Kinds,
    cache: Path | None,
    *,
    jobs: int = 1,
    progress: bool = True,
) -> list[Result]:
    """Results of the cells, in order; those in ``cache`` are read, the others run and stored as they finish.

    Args:
        kinds: functions by name, called as ``kinds[cell.kind](seed=…, **settings)``; importable, for ``jobs`` > 1.
        jobs: processes, one thread each.
    """
    results: dict[str, Result] = {}
    todo: list[Cell] = []
    for cell in cells:
        path = cache / f"{cell.key}.json" if cache else None
        if path is not None and path.exists():
            results[cell.key] = json.loads(path.read_text(encoding="utf-8"))["result"]
        elif cell.key not in {c.key for c in todo}:
            todo.append(cell)
    with _bar(len(todo), progress) as advance:
        for cell, result in _completed(todo, kinds, jobs):
            results[cell.key] = result
            if cache is not None:
                content = {"kind": cell.kind, "settings": dict(cell.settings), "seed": cell.seed, "result": result}
                write_json(cache / f"{cell.key}.json", content)
            advance(cell)
    return [results[cell.key] for cell in cells]


def _completed(todo: Sequence[Cell], kinds: Kinds, jobs: int):
    if jobs <= 1:
        for cell in todo:
            yield cell, kinds[cell.kind](seed=cell.seed, **cell.settings)
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        futures = {pool.submit(kinds[c.kind], seed=c.seed, **c.settings): c for c in todo}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


class _bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self, total: int, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal and total > 0),
        )
        self.task = self.progress.add_task("experiments", total=total)

    def __enter__(self) -> Callable[[Cell], None]:
        self.progress.start()
        return lambda cell: self.progress.update(self.task, advance=1, description=cell.kind)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
