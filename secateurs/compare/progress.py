"""How far a sweep is, on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from .schedule import Job, Outcome

_EVERY = 10.0  # seconds between lines, where there is no terminal


class Progress:
    """Runs that ended, of those that are to be made.

    Args:
        left: runs still to be made. shown: whether to show anything at all. what: they are called.
    """

    def __init__(self, left: int, *, shown: bool = True, what: str = "runs") -> None:
        self._what = what
        self._left, self._done, self._failed, self._shown = left, 0, 0, shown
        self._began = self._written = time.monotonic()
        self._running: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self._shown and self._left and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn(self._what),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True, refresh_per_second=2)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._left, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def started(self, job: Job) -> None:
        """A run began."""
        self._running[job.key] = str(job)
        self._show()

    def ended(self, job: Job, outcome: Outcome, *, left: int | None = None) -> None:
        """A run ended. ``left``: how many are still to be made, where that is not one less than before."""
        self._running.pop(job.key, None)
        self._done += 1
        self._failed += bool(outcome.error)
        self._left = self._left - 1 if left is None else left + len(self._running)
        why = (job.label, outcome.error)
        if outcome.error and self._shown and why not in self._told:  # a grid fails at every point
            self._told.add(why)
            self._say(f"failed: {job}: {outcome.error}")
        self._show()
        now = time.monotonic()
        if self._bar is None and self._shown and (now - self._written >= _EVERY):
            self._written = now
            rest = f", about {timedelta(seconds=round((now - self._began) / self._done * self._left))} left"
            self._say(
                f"{self._done} of {self._done + self._left} {self._what}{self._failures()}{rest if self._left else ''}"
            )

    def timing(self, done: int, total: int) -> None:
        """Networks whose latency has been measured."""
        if self._bar is not None:
            self._bar.update(self._task, note=f"timing networks, {done} of {total}")

    def _show(self) -> None:
        if self._bar is not None:
            note = ", ".join(self._running.values()) + self._failures()
            self._bar.update(self._task, completed=self._done, total=self._done + self._left, note=note)

    def _failures(self) -> str:
        return f" ({self._failed} failed)" if self._failed else ""

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
