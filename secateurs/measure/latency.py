"""Milliseconds, honestly: threads stated, warmed up, interleaved, medians with their quartiles.

One *measurement* is a run of enough calls to last at least ``_SHORTEST`` (a clock read costs, and a timer has
a grain), divided by their number. Networks are compared in rounds, each measured once per round in
alternating order, so that a machine that slows down slows all of them; the ratio is taken within rounds.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..structure.copying import uncollected
from .inputs import as_call, batch_size, device_of, evaluating, moved

_SHORTEST = 3e-3  # seconds per measurement: the first call after another network ran finds cold caches

Timer = Callable[[int], float]
"""Makes that many calls and returns the seconds they took."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call: median and quartiles of ``repeats`` measurements of ``calls`` calls each."""

    median_ms: float
    q25_ms: float
    q75_ms: float
    threads: int
    batch: int
    repeats: int
    calls: int
    device: str

    def __str__(self) -> str:
        return (
            f"{self.median_ms:.4g} ms ({self.q25_ms:.4g}–{self.q75_ms:.4g}), batch {self.batch}, "
            f"{self.threads} thread{'s' if self.threads != 1 else ''}, {self.device}"
        )


@dataclass(frozen=True)
class Ratio:
    """How many times faster than the first: median and quartiles of the per-round ratios. > 1 is faster."""

    median: float
    q25: float
    q75: float


@dataclass(frozen=True)
class Comparison:
    """Latencies by name, measured side by side; ``speedup`` of each over the first (which has 1)."""

    latencies: dict[str, Latency]
    speedup: dict[str, Ratio]

    def __getitem__(self, name: str) -> Latency:
        return self.latencies[name]


def latency(
    model: nn.Module,
    inputs: Any,
    *,
    threads: int = 1,
    repeats: int = 30,
    warmup: int = 5,
    seconds: float = 10.0,
) -> Latency:
    """Time ``model(inputs)`` in eval and inference mode, on the device that the model is on.

    The thread count and every module's mode are restored.

    Args:
        inputs: a tensor, a tuple of positional or a dict of keyword arguments; moved to the model's device.
        threads: for CPU operators.
        repeats: measurements (at least 3 are made, fewer than asked where ``seconds`` run out).
        warmup: calls before the first measurement.
        seconds: time after which no further measurement starts.
    """
    return compare_latency({"model": model}, inputs, threads=threads, repeats=repeats, warmup=warmup, seconds=seconds)[
        "model"
    ]


def compare_latency(
    models: Mapping[str, nn.Module],
    inputs: Any,
    *,
    threads: int = 1,
    repeats: int = 30,
    warmup: int = 5,
    seconds: float = 20.0,
) -> Comparison:
    """Time several networks on the same inputs in interleaved rounds.

    Args:
        models: name → network; ratios are over the first.
        inputs, threads, repeats, warmup, seconds: as for :func:`latency`, ``seconds`` for all together.
    """
    with using_threads(threads), evaluating(*models.values()), torch.inference_mode():
        timers = {name: _timer(model, inputs) for name, model in models.items()}
        device = device_of(next(iter(models.values())))
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return interleaved(
            timers,
            repeats=repeats,
            warmup=warmup,
            seconds=seconds,
            about={"threads": threads, "batch": batch_size(as_call(inputs)), "device": name},
        )


def interleaved(
    timers: Mapping[str, Timer], *, repeats: int, warmup: int, seconds: float, about: Mapping[str, Any]
) -> Comparison:
    """Measure each timer once per round, the order turned round after every round.

    Args:
        about: the remaining fields of :class:`Latency`.
    Raises:
        ValueError: no timers, or ``repeats`` or ``warmup`` out of range.
    """
    if not timers or repeats < 1 or warmup < 0:
        raise ValueError(f"nothing to measure: {len(timers)} networks, repeats={repeats}, warmup={warmup}")
    calls = {name: _calibrate(timer, warmup) for name, timer in timers.items()}
    taken: dict[str, list[float]] = {name: [] for name in timers}
    names = list(timers)
    end = time.perf_counter() + seconds
    with uncollected():
        for done in range(repeats):
            if done >= 3 and time.perf_counter() > end:
                break
            for name in names:
                taken[name].append(timers[name](calls[name]) / calls[name] * 1e3)
            names.reverse()
    first = np.asarray(taken[next(iter(timers))])
    speedup = {}
    for name, values in taken.items():
        speedup[name] = Ratio(*_quartiles(first / np.asarray(values)))
    return Comparison({n: _summary(v, calls[n], about) for n, v in taken.items()}, speedup)


def _summary(milliseconds: Sequence[float], calls: int, about: Mapping[str, Any]) -> Latency:
    median, low, high = _quartiles(np.asarray(milliseconds))
    return Latency(median, low, high, repeats=len(milliseconds), calls=calls, **about)


def _quartiles(values: np.ndarray) -> tuple[float, float, float]:
    low, median, high = np.percentile(values, (25, 50, 75))
    return float(median), float(low), float(high)


def _calibrate(timer: Timer, warmup: int) -> int:
    """Warm up, then find how many calls fill one measurement."""
    if warmup:
        timer(warmup)
    calls = 1
    while (elapsed := timer(calls)) < _SHORTEST and calls < 1 << 16:
        calls = max(calls + 1, min(calls * 8, math.ceil(calls * _SHORTEST / max(elapsed, 1e-9) * 1.2)))
    return calls


def _timer(model: nn.Module, inputs: Any) -> Timer:
    device = device_of(model)
    args, kwargs = moved(inputs, device)
    if device.type == "cuda":
        return _cuda_timer(lambda: model(*args, **kwargs), device)
    synchronize = torch.mps.synchronize if device.type == "mps" else None
    return wall_timer(lambda: model(*args, **kwargs), synchronize)


def wall_timer(call: Callable[[], Any], synchronize: Callable[[], None] | None = None) -> Timer:
    """Seconds by the wall clock; ``synchronize`` waits for a device's queue before and after."""

    def run(calls: int) -> float:
        if synchronize:
            synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        if synchronize:
            synchronize()
        return time.perf_counter() - start

    return run


def _cuda_timer(call: Callable[[], Any], device: torch.device) -> Timer:
    """Seconds by the device's own clock, from the first call's launch to the last one's end."""

    def run(calls: int) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        with torch.cuda.device(device):
            torch.cuda.synchronize()
            start.record()
            for _ in range(calls):
                call()
            end.record()
            torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3

    return run


@contextlib.contextmanager
def using_threads(threads: int) -> Iterator[None]:
    """That many CPU threads for operators inside; the former number afterwards.

    Raises:
        ValueError: fewer than one.
    """
    if threads < 1:
        raise ValueError(f"threads={threads}: at least one thread is needed")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)
