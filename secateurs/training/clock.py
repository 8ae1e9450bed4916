"""Wall seconds by phase, at the price of one clock reading where the phase changes and none elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """A stopwatch with one hand: at any time, at most one name is running."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._name: str | None = None
        self._since = 0.0

    def switch(self, name: str | None) -> str | None:
        """Let ``name`` run (None: nothing) from now on; returns what ran before."""
        now = time.perf_counter()
        before = self._name
        if before is not None:
            self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._name, self._since = name, now
        return before

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Let ``name`` run within the block."""
        before = self.switch(name)
        try:
            yield
        finally:
            self.switch(before)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by name until now."""
        self.switch(self._name)
        return dict(self._seconds)

    @seconds.setter
    def seconds(self, value: dict[str, float]) -> None:
        self._seconds = dict(value)
        self._since = time.perf_counter()
