"""A progress bar that costs nothing where nobody looks and little where somebody does."""

from __future__ import annotations

import sys
import time
from typing import Any

_WAIT = 2.0  # seconds before it shows: short runs stay silent
_EVERY = 0.2  # seconds between updates


class ProgressBar:
    """Steps done of a total, on standard error, if that is a terminal and the work lasts over two seconds."""

    def __init__(self, label: str, total: int, *, shown: bool = True) -> None:
        self._label, self._total = label, total
        self._next = time.monotonic() + _WAIT if shown and sys.stderr.isatty() else float("inf")
        self._bar: Any = None
        self._task: Any = None

    def update(self, done: int, note: str) -> None:
        """Call at every step; it looks at the clock and mostly returns."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY
        if self._bar is None:
            self._show()
        self._bar.update(self._task, completed=done, note=note)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5)
        self._bar.start()
        self._task = self._bar.add_task(self._label, total=self._total, note="")
