"""Runs of the worker: one process each, a time limit, and results kept by what they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import secateurs

Row = dict[str, Any]
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / "runs" / "benchmarks" / "architectures"
OURS = "secateurs"
LIBRARIES = ("torch", "torchvision", "timm", "transformers", "torch-pruning", "torch-kirigami")
# The modules that make a row; the package itself counts for its own side only.
_SHARED = ("models.py", "plain.py", "judge.py", "memory.py", "worker.py", "wheels.py")
_RIVALS = (*_SHARED, "rivals.py", "addresses.py", "normalised.py")


def versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def source_hash(side: str) -> str:
    """Of everything that a row depends on: code, and the versions of what it measures."""
    if side == OURS:
        package = Path(secateurs.__file__).parent
        paths = [*sorted(package.rglob("*.py")), *(HERE / name for name in (*_SHARED, "ours.py", "uses.py"))]
    else:
        paths = [HERE / name for name in _RIVALS]
    digest = hashlib.sha256(json.dumps(versions()).encode())
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def run_all(
    tasks: list[tuple[str, str]], seconds: dict[str, float], jobs: int, fresh: bool, cache: Path = CACHE
) -> Iterator[tuple[str, str, Row]]:
    """(side, model, row) of each task, as they finish; leaving early ends what still runs.

    Args:
        tasks: (side, model).
        seconds: the time limit of each side.
        fresh: do not read earlier results.
    """
    running: dict[Any, tuple[str, str]] = {}
    pool = ThreadPoolExecutor(jobs)
    try:
        for side, name in tasks:
            running[pool.submit(_row, side, name, seconds[side], fresh, cache)] = side, name
        for future in as_completed(running):
            yield *running[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(_STARTED):
            _end(process)


def _row(side: str, name: str, seconds: float, fresh: bool, cache: Path) -> Row:
    """An earlier row of the same source, or a new one, which is kept if it came to a verdict.

    A timeout is none: the machine may have been busy. Nor is a row whose source changed while it was made.
    """
    source = source_hash(side)
    path = cache / side / f"{name}-{source}.json"
    if path.exists() and not fresh:
        return json.loads(path.read_text(encoding="utf-8"))
    row = {**run_one(side, name, seconds), "source": source}
    if row["stage"] == "done" and source == source_hash(side):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(row, indent=1), encoding="utf-8")
        os.replace(part, path)
    return row


def run_one(side: str, name: str, seconds: float) -> Row:
    """The row of one task: what the worker said last, or what became of it."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "row.json", Path(folder) / "log"
        with log.open("w") as stream:
            command = [sys.executable, "-m", "benchmarks.architectures.worker", side, name, str(out)]
            ended = _wait(command, stream, seconds)
        row = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"stage": "start"}
        if (stage := row["stage"]) != "done":
            row["status"] = f"timeout: {stage}" if ended is None else f"error: {stage}: the process ended with {ended}"
            row["traceback"] = log.read_text(encoding="utf-8", errors="replace")[-4000:]
    row["seconds"] = time.perf_counter() - start
    return row


_STARTED: set[subprocess.Popen[bytes]] = set()


def _wait(command: list[str], stream: Any, seconds: float) -> int | None:
    """The exit status; None where the time was up."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
    )
    _STARTED.add(process)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)
        _STARTED.discard(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
            os.killpg(process.pid, signal.SIGKILL)  # with whatever it started
        process.wait()
