"""How far a training is, on standard error: a bar on a terminal, plain lines in a file or a log.

Both cost nothing where nobody looks and little where somebody does, and short runs stay silent.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

_WAIT = 2.0  # seconds before the bar shows
_EVERY = 0.2  # seconds between its updates
LINES = 10.0  # seconds between lines at the ends of epochs, and before the first
_WITHIN = 60.0  # seconds after which a line is written within an epoch
_NAMES = {"warmup": "warm-up"}


class Progress:
    """Steps done of a total.

    Args:
        label: of the training. total: its steps. epochs: its epochs. start: steps done before.
        shown: whether there is anything to show on this process.
    """

    def __init__(self, label: str, total: int, *, epochs: int, start: int = 0, shown: bool = True) -> None:
        self._label, self._total, self._epochs, self._start = label, total, epochs, start
        self._began = self._written = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._shown, self._spoken = shown, False
        self._next = self._began + (_WAIT if self._terminal else _WITHIN) if shown else float("inf")
        self._bar: Any = None
        self._task: Any = None

    def update(self, done: int, phase: str) -> None:
        """Call at every step; it looks at the clock and mostly returns."""
        now = time.monotonic()
        if now < self._next:
            return
        if not self._terminal:
            self._next = self._written + _WITHIN
            if now >= self._next:
                self._line(f"epoch {done * self._epochs / self._total:.2f} of {self._epochs}", done, phase)
            return
        self._next = now + _EVERY
        if self._bar is None:
            self._show()
        note = "" if phase == self._label else _NAMES.get(phase, phase)
        self._bar.update(self._task, completed=done, note=note)

    def epoch_end(self, done: int, phase: str, accuracy: float | None) -> None:
        """Call at the end of an epoch, with its accuracy on validation data where there is one."""
        due = time.monotonic() - self._written >= LINES or (self._spoken and done == self._total)
        if self._terminal or not self._shown or not due:
            return
        text = f"epoch {done * self._epochs // self._total} of {self._epochs}"
        if accuracy is not None:
            text += f", validation accuracy {100 * accuracy:.2f}%"
        self._line(text, done, phase)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _line(self, text: str, done: int, phase: str) -> None:
        self._written, self._spoken = time.monotonic(), True
        self._next = self._written + _WITHIN
        elapsed = self._written - self._began
        where = self._label if phase == self._label else f"{self._label}, {_NAMES.get(phase, phase)}"
        line = f"{where}: {text}, {_clock(elapsed)} elapsed"
        if self._start < done < self._total:
            line += f", about {_clock(elapsed * (self._total - done) / (done - self._start))} left"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5)
        self._bar.start()
        self._task = self._bar.add_task(self._label, total=self._total, note="")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
