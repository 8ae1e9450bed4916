"""Single operators, run again and timed: at the sizes of a trace, or at other widths.

An operator call of a trace is rebuilt with random tensors of the asked lengths, run in a loop until a clock can tell,
and the median of several loops is kept with its quartiles; where these lie far apart the machine was busy, and it is
timed again. Timings are kept by what was run, so that no shape is timed twice: networks repeat their layers, and a file
keeps what an earlier run on this device has found.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree

from ..errors import RunError
from ..storage import write_json
from ..structure.calls import Operand, OperatorCall, leaves
from .latency import using_threads

Timing = tuple[float, float, float]  # milliseconds: median and quartiles

SHORTEST = 200e-6  # seconds of a loop
LOOPS = 9
ENOUGH = 0.1  # seconds for one operator, after which three loops will do
CALM, AGAIN = 1.1, 3  # quartiles that lie nearer together than this, and how often more it is tried


class Timings:
    """Milliseconds of operators on one device, by what was run.

    Args:
        device: where operators run. threads: for CPU operators.
        path: a file to read what is known from, and to :meth:`save` to.
    """

    def __init__(self, device: torch.device, threads: int = 1, path: Path | None = None) -> None:
        self.device, self.threads, self.path = device, threads, path
        self.known: dict[str, Timing] = {}
        self.used: dict[str, Timing] = {}
        if path is not None and path.exists():
            try:
                held = json.loads(path.read_text(encoding="utf-8"))
                self.known = {key: (float(a), float(b), float(c)) for key, (a, b, c) in held.items()}
            except (ValueError, TypeError, AttributeError, OSError):
                self.known = {}  # a cache that cannot be read is measured anew

    def of(self, call: OperatorCall, kept: Mapping[bytes, int] | None = None) -> Timing | None:
        """How long a call takes once so many atoms are left of each set that its sizes follow
        (:meth:`OperatorCall.resized`); None where it does not run so.
        """
        args, kwargs = call.resized(kept or {})
        key = _key(call, args, kwargs)
        if key not in self.known:
            timing = self._measured(call.operator, args, kwargs)
            if timing is None:
                return None
            self.known[key] = timing
        self.used[key] = self.known[key]
        return self.known[key]

    def save(self) -> None:
        """Keep what is known; where nothing can be written it is measured anew next time, and no run is lost for it."""
        if self.path is not None:
            with contextlib.suppress(RunError):
                write_json(self.path, self.known)

    def _measured(self, operator: Any, args: Any, kwargs: Any) -> Timing | None:
        with using_threads(self.threads), torch.inference_mode():
            made = _pytree.tree_map(lambda v: self._tensor(v) if isinstance(v, Operand) else v, (args, kwargs))
            call = lambda: operator(*made[0], **made[1])  # noqa: E731
            try:
                return _timed(call, self._wait)
            except Exception:  # sizes that the operator refuses
                return None

    def _tensor(self, operand: Operand) -> Tensor:
        if operand.dtype.is_floating_point or operand.dtype.is_complex:
            value = torch.rand(operand.shape, device=self.device).to(operand.dtype)
        else:
            value = torch.zeros(operand.shape, dtype=operand.dtype, device=self.device)
        return value.contiguous(memory_format=torch.channels_last) if operand.channels_last else value

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def cache_file(device: torch.device, threads: int) -> Path:
    """Where timings of this device are kept: under ``$SECATEURS_CACHE``, ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    given = os.environ.get("SECATEURS_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "secateurs"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    text = f"{name}-{torch.__version__}-{threads}threads"
    return base / "latency" / ("".join(c if c.isalnum() or c in "-." else "_" for c in text) + ".json")


def _processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}-{torch.backends.cpu.get_cpu_capability()}"


def _key(call: OperatorCall, args: Any, kwargs: Any) -> str:
    """What is run, in words."""

    def word(value: Any) -> str:
        if not isinstance(value, Operand):
            return str(value)
        kind = str(value.dtype).removeprefix("torch.") + ("+channels_last" if value.channels_last else "")
        return f"{kind}{list(value.shape)}"

    return f"{call.operator}({', '.join(map(word, leaves((args, kwargs))))})"


def _timed(call: Callable[[], Any], wait: Callable[[], None]) -> Timing:
    """Median and quartiles of loops that are long enough for the clock."""

    def loop(count: int) -> float:
        wait()
        start = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        return time.perf_counter() - start

    loop(2)
    count, elapsed = 1, loop(1)
    while elapsed < SHORTEST and count < 1 << 14:
        count = max(2 * count, min(16 * count, round(1.2 * count * SHORTEST / max(elapsed, 1e-7))))
        elapsed = loop(count)

    def loops() -> Timing:
        taken: list[float] = []
        end = time.perf_counter() + ENOUGH
        while len(taken) < LOOPS and (len(taken) < 3 or time.perf_counter() < end):
            taken.append(1e3 * loop(count) / count)
        low, median, high = np.percentile(taken, (25, 50, 75))
        return float(median), float(low), float(high)

    return quietest(loops)


def quietest(timed: Callable[[], Timing]) -> Timing:
    """The fastest of several timings, the first of which will do if its quartiles lie together: others only slow."""
    best = timed()
    for _ in range(AGAIN):
        if best[2] <= CALM * best[1]:
            break
        best = min(best, timed())
    return best
