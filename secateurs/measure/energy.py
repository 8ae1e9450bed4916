"""Energy of a stretch of work, from the counters that the platform has: RAPL for processors, NVML for GPUs.

The counters are the machine's, not the process's: what else runs there is in the figure.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import torch

RAPL = Path("/sys/class/powercap")


class Energy:
    """Reads the counters around a ``with`` block.

    Attributes:
        joules: used within the block; None where nothing tells. A processor's counter that went round once is counted
            right; one that went round twice (minutes to hours, by the processor) is not.
    """

    joules: float | None = None

    def __init__(self, root: Path = RAPL) -> None:
        self._root = root

    def __enter__(self) -> Energy:
        self._meters = [*_rapl(self._root), *_nvml()]
        self._before = [read() for read, _ in self._meters]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        used = []
        for before, (read, span) in zip(self._before, self._meters):
            after = read()
            if before is not None and after is not None:
                used.append((after - before) % span if span else after - before)
        self.joules = sum(used) if used else None


Meter = tuple[Callable[[], float | None], float]
"""Reads joules, and after how many the counter begins anew (0: never)."""


def _rapl(root: Path) -> list[Meter]:
    """Packages' counters; their parts (cores, memory controllers) are in them."""
    meters: list[Meter] = []
    for folder in sorted(root.glob("intel-rapl:*")):
        span = _number(folder / "max_energy_range_uj")
        if folder.name.count(":") == 1 and span is not None:
            meters.append((lambda path=folder / "energy_uj": _number(path), span))  # type: ignore[misc]
    return meters


def _number(path: Path) -> float | None:
    try:
        return int(path.read_text()) * 1e-6
    except (OSError, ValueError):  # mostly readable by root alone
        return None


def _nvml() -> list[Meter]:
    """The GPU that torch uses, where pynvml is installed and the driver counts."""
    if not torch.cuda.is_available():
        return []
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    except Exception:  # whatever the driver says: then it does not tell
        return []

    def read() -> float | None:
        try:
            return nvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3
        except nvml.NVMLError:
            return None

    return [(read, 0.0)]
