"""What is still to be run, as a function of what has finished: a sweep can stop anywhere and be asked again.

A *cell* is a method at a budget. At the first seed every point of the grid is run and looked at on validation data
alone; the best point's run then reads the test set, and the other seeds run with it. Dense networks come first, for the
answers of all others are held against theirs; a network is trained from scratch once its source has finished.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..spec import Budget, RunConfig
from .request import WHOLE, Asked


@dataclass(frozen=True)
class Outcome:
    """What is known of a run that ended.

    Attributes:
        validation: accuracy. tested: whether the test set was read. timed: whether latency was measured.
        error: why it has no record.
    """

    validation: float | None = None
    tested: bool = False
    timed: bool = False
    error: str = ""


class Made(NamedTuple):
    """A configuration and its hash."""

    config: RunConfig
    key: str


@dataclass(frozen=True)
class Job:
    """A run to make.

    Attributes:
        key: the hash of the configuration, which names the run's folder.
        label: of the method in tables. budget: likewise, empty for the dense network.
        test: whether to read the test set at the end.
        dense: hash of the dense run of the same seed; empty for the dense network itself, and without ``test``.
    """

    config: RunConfig
    key: str
    label: str
    budget: str
    test: bool
    dense: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.label, self.budget, f"seed {self.config.seed}")))


@dataclass(frozen=True)
class Cell:
    """A method at a budget. ``source``: the cell whose networks it trains from scratch."""

    method: str
    budget: Budget
    source: Cell | None = None

    @property
    def label(self) -> str:
        """As tables name it."""
        return self.method if self.source is None else f"scratch:{self.source.method}"

    @property
    def shown(self) -> str:
        """The budget as tables name it."""
        return "" if self.budget == WHOLE and self.method == "dense" else str(self.budget)


DENSE = Cell("dense", WHOLE)


class Schedule:
    """The runs of a comparison in an order that their dependencies allow.

    Args:
        ended: outcomes by hash; read again at every question, so that it may grow.
    """

    def __init__(self, asked: Asked, ended: Mapping[str, Outcome]) -> None:
        self.asked, self.ended = asked, ended
        self._made: dict[tuple[str, str, int, str], Made] = {}

    def cells(self) -> Iterator[Cell]:
        """Every cell, budget by budget; the dense network first."""
        yield DENSE
        for budget in self.asked.budgets:
            for method in self.asked.contenders(budget):
                yield Cell(method, budget)
            for method in self.asked.sources(budget):
                yield Cell("scratch", budget, Cell(method, budget))

    def ready(self) -> list[Job]:
        """Runs that can start now."""
        jobs = {job.key: job for cell in self.cells() for job in self._of(cell) if self._open(job)}
        return list(jobs.values())

    def _open(self, job: Job) -> bool:
        outcome = self.ended.get(job.key)
        return outcome is None or (job.test and not outcome.tested and not outcome.error)

    def _of(self, cell: Cell) -> Iterator[Job]:
        """The cell's runs whose dependencies are there, finished or not."""
        trials = self.trials(cell)
        if len(trials) > 1:
            yield from trials
        point = self.choice(cell)
        if point is None:
            return
        for seed in self.asked.seeds:
            made = self.made(cell, seed, point)
            dense = "" if cell == DENSE else self.dense(seed)
            if made is not None and dense is not None:
                yield Job(*made, cell.label, cell.shown, True, dense)

    def trials(self, cell: Cell) -> list[Job]:
        """The grid at the first seed; empty as long as the source of a scratch run has not finished."""
        made = (self.made(cell, self.asked.seeds[0], point) for point in self.points(cell))
        jobs = [Job(*m, cell.label, cell.shown, False) for m in made if m is not None]
        return list({job.key: job for job in jobs}.values())

    def points(self, cell: Cell) -> tuple[dict[str, Any], ...]:
        """Options that the cell chooses from."""
        return self.asked.points(cell.method, cell.budget)

    def choice(self, cell: Cell) -> Mapping[str, Any] | None:
        """The point of the grid with the highest validation accuracy; None while that is not known, or if all failed.
        Of equals, the first."""
        grid = self.points(cell)
        if len(grid) == 1:
            return grid[0]
        best: tuple[float, Mapping[str, Any]] | None = None
        for point in grid:
            made = self.made(cell, self.asked.seeds[0], point)
            outcome = None if made is None else self.ended.get(made.key)
            if outcome is None:
                return None
            reached = -1.0 if outcome.validation is None else outcome.validation
            if not outcome.error and (best is None or reached > best[0]):
                best = (reached, point)
        return None if best is None else best[1]

    def made(self, cell: Cell, seed: int, point: Mapping[str, Any]) -> Made | None:
        """The configuration of one run and its hash; None as long as a scratch run's source has not finished."""
        given = dict(point)
        if cell.source is not None:
            source = self.finished(cell.source, seed)
            if source is None:
                return None
            given["of"] = source
        name = (cell.label, str(cell.budget), seed, json.dumps(given, sort_keys=True))
        if name not in self._made:
            config = self.asked.config(cell.method, cell.budget, seed, given)
            self._made[name] = Made(config, config.hash)
        return self._made[name]

    def finished(self, cell: Cell, seed: int) -> str | None:
        """The hash of a cell's run at a seed, once the test set was read."""
        outcome = self.outcome(cell, seed)
        return outcome[0] if outcome is not None and outcome[1].tested else None

    def outcome(self, cell: Cell, seed: int) -> tuple[str, Outcome] | None:
        """The hash and outcome of a cell's run at a seed, once it ended."""
        point = self.choice(cell)
        made = None if point is None else self.made(cell, seed, point)
        return (made.key, self.ended[made.key]) if made is not None and made.key in self.ended else None

    def dense(self, seed: int) -> str | None:
        """The dense run of a seed: its hash once it finished; empty if it failed; None as long as it may come."""
        if self.choice(DENSE) is None:
            return "" if all(job.key in self.ended for job in self.trials(DENSE)) else None
        outcome = self.outcome(DENSE, seed)
        if outcome is None or not (outcome[1].tested or outcome[1].error):
            return None
        return outcome[0] if outcome[1].tested else ""

    def left(self) -> int:
        """How many runs are still to be made, those included that wait for others, if all goes well."""
        ended, count = dict(self.ended), 0
        ahead = Schedule(self.asked, ended)
        ahead._made = self._made
        while jobs := ahead.ready():
            count += len(jobs)
            ended.update((job.key, Outcome(0.0, tested=job.test)) for job in jobs)
        return count

    def jobs_of(self, cell: Cell) -> list[Job]:
        """The cell's runs that read the test set, as far as they are known."""
        return [job for job in self._of(cell) if job.test]

    def everything(self, cell: Cell) -> list[Job]:
        """The cell's runs as far as they are known, trials first."""
        return [*self.trials(cell), *self.jobs_of(cell)]
