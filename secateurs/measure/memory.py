"""Peak memory of a stretch of work, beyond what was there before it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

import torch

_STATM = Path("/proc/self/statm")
_EVERY = 0.05  # seconds between looks


class PeakMemory:
    """Watches this process within a ``with`` block.

    Attributes:
        bytes: largest resident memory within the block minus that at its start; None where the platform does not tell.
        device_bytes: likewise of what torch allocated on the accelerator; None without one.
    """

    bytes: int | None = None
    device_bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        self._start = self._peak = resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if self._start is not None:
            self._thread.start()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self._device = torch.cuda.memory_allocated()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._start is not None and self._peak is not None:
            self._stop.set()
            self._thread.join()
            self._look()
            self.bytes = self._peak - self._start
        if torch.cuda.is_available():
            self.device_bytes = torch.cuda.max_memory_allocated() - self._device

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY):
            self._look()

    def _look(self) -> None:
        self._peak = max(self._peak or 0, resident() or 0)


def resident() -> int | None:
    """Bytes of this process in memory; None where the platform does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
