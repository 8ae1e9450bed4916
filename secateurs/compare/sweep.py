"""A comparison from beginning to end: what is missing is run, and what has finished is summed up."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ..errors import RunInterrupted, require
from ..recipes import ready
from ..records import Comparison
from .carry import Place, ended, forget
from .joining import joined, keep
from .pool import Pool, drive, make_pool
from .progress import Progress
from .quiet import time_networks
from .request import Asked
from .schedule import Job, Outcome, Schedule
from .search import search
from .summary import summarise


@dataclass(frozen=True)
class How:
    """How runs are carried out; nothing that their results depend on.

    Attributes:
        jobs: runs side by side. threads: of each; None: its share of the cores. retry: make failed runs again.
        ray: ``auto`` starts Ray here, an address joins a cluster; empty: processes. progress: show it.
        track: trackers that hear of the runs.
    """

    jobs: int = 1
    threads: int | None = None
    retry: bool = False
    ray: str = ""
    progress: bool = True
    track: tuple[str, ...] = ()

    def place(self, folder: Path) -> Place:
        """What runs in a folder have in common."""
        return Place(folder, self.threads, self.track)


def compare(asked: Asked, folder: str | Path, how: How | None = None, *, drop: Sequence[str] = ()) -> Comparison:
    """Make what runs are missing in ``folder``, and sum up all that lie there and are asked for.

    Args:
        drop: methods, budgets and seeds that the folder was asked for and no longer is: ``snip``, ``macs=0.01``,
            ``seed=3``.
    Raises:
        RunError: the folder holds something else, or another comparison.
        RunInterrupted: a signal; the same command continues.
        MissingExtraError: a search without Optuna.
        SecateursError: model or data are wrong, said before anything runs.
    """
    folder, how = Path(folder), how or How()
    asked = joined(asked, folder, drop)
    how.place(folder).tracking.require()
    _possible(asked)
    if asked.search is not None:
        require("optuna", "search")
    folder.mkdir(parents=True, exist_ok=True)
    keep(asked, folder)
    if how.retry:
        forget(how.place(folder))
    if asked.search is not None:
        asked = _chosen(asked, folder, how)
    carry_on(asked, folder, how)
    return summarise(asked, folder)


def _possible(asked: Asked) -> None:
    """Model, data and budgets, before anything is written; what a method cannot do is a failure of its own runs."""
    *_, players = ready(asked.config("random", asked.budgets[0], asked.seeds[0], {}))
    for budget in asked.budgets:
        if budget.latency is None:  # that is known once it was measured
            players.targets(budget)


def _chosen(asked: Asked, folder: Path, how: How) -> Asked:
    """With what a search found for every budget, kept in the folder."""
    with pooled(folder, how) as pool:
        found = search(asked, how.place(folder), pool, progress=how.progress)
    asked = asked.model_copy(update={"found": found})
    keep(asked, folder)
    return asked


def carry_on(asked: Asked, folder: Path, how: How) -> None:
    """Run whatever is missing, as its dependencies finish; then time the networks, while nothing else runs."""
    known = ended(how.place(folder))
    schedule = Schedule(asked, known)
    with Progress(schedule.left(), shown=how.progress) as bar:
        if schedule.ready():
            with pooled(folder, how) as pool:
                _run(schedule, known, pool, bar)
        time_networks(folder, schedule, bar)


@contextlib.contextmanager
def pooled(folder: Path, how: How) -> Iterator[Pool]:
    """A pool within the block, which a signal stops.

    Raises:
        RunInterrupted: so it was; what was done is kept.
    """
    pool = make_pool(how.place(folder), how.jobs, how.ray)
    try:
        with stoppable():
            yield pool
    except (KeyboardInterrupt, RunInterrupted):
        raise RunInterrupted(f"stopped; {folder} keeps what was done, and the same command continues") from None
    finally:
        pool.close()


def _run(schedule: Schedule, known: dict[str, Outcome], pool: Pool, bar: Progress) -> None:
    def following(running: Collection[str]) -> Job | None:
        job = next((job for job in schedule.ready() if job.key not in running), None)
        if job is not None:
            bar.started(job)
        return job

    def told(job: Job, outcome: Outcome) -> None:
        known[job.key] = outcome
        bar.ended(job, outcome, left=schedule.left() if outcome.error else None)

    drive(pool, following, told)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM as Ctrl-C, so that processes are asked to save before this one goes."""

    def hear(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, hear)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
