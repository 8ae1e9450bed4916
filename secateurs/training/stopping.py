"""Ctrl-C and SIGTERM as a request, heard between two steps, so that what is saved is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_HEARD = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Within the block, the first signal sets ``received``; a second Ctrl-C interrupts at once.

    Outside the main thread Python lets nobody listen; signals then act as they always do.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._hear) for s in _HEARD}
        return self

    def __exit__(self, *_: object) -> None:
        for heard, handler in self._before.items():
            signal.signal(heard, handler if handler is not None else signal.SIG_DFL)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
