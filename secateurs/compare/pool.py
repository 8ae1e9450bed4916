"""Who carries runs out: this process, or several beside it, each with its share of the cores.

A pool takes runs and hands back outcomes as they come. A process that dies is replaced, and its run continued from its
last checkpoint; a run that outlives no process is given up after three.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from ..errors import RunInterrupted
from .carry import Place, carry, failed
from .schedule import Job, Outcome
from .workers import environment, origin, share

ATTEMPTS = 3
_PATIENCE = 120.0  # seconds that a stopped process has to finish its step and save


class Pool(ABC):
    """Takes at most ``size`` runs at a time."""

    size: int = 1

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Start a run, or keep it until :meth:`wait`."""

    @abstractmethod
    def wait(self) -> tuple[Job, Outcome]:
        """The next run that ends.

        Raises:
            RunInterrupted: the sweep was stopped.
        """

    @abstractmethod
    def close(self) -> None:
        """Let nothing go on; what was being run keeps its checkpoint."""


class Here(Pool):
    """One run after the other, in this process."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._waiting: list[Job] = []

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def wait(self) -> tuple[Job, Outcome]:
        job = self._waiting.pop(0)
        return job, carry(job, self._place)

    def close(self) -> None:
        self._waiting.clear()


@dataclass
class _Worker:
    process: Any
    connection: Connection
    job: Job | None = None


class Processes(Pool):
    """``jobs`` processes, each with ``place.threads`` threads, or its share of the cores."""

    def __init__(self, place: Place, jobs: int) -> None:
        self.size = jobs
        self._place = replace(place, threads=place.threads or share(jobs))
        self._context = origin(jobs, place.threads)
        self._workers: list[_Worker] = []
        self._attempts: dict[str, int] = {}

    def submit(self, job: Job) -> None:
        worker = next((w for w in self._workers if w.job is None), None) or self._start()
        worker.job = job
        self._attempts[job.key] = self._attempts.get(job.key, 0) + 1
        with contextlib.suppress(OSError):  # it died while idle: `wait` sees that, and starts another
            worker.connection.send(job)

    def wait(self) -> tuple[Job, Outcome]:
        while True:
            busy = [w for w in self._workers if w.job is not None]
            ready = wait([w.connection for w in busy] + [w.process.sentinel for w in busy])
            for worker in busy:
                if worker.connection in ready or worker.process.sentinel in ready:
                    found = self._received(worker)
                    if found is not None:
                        return found

    def close(self) -> None:
        for worker in self._workers:
            if worker.job is not None and worker.process.is_alive():
                worker.process.terminate()  # heard between two steps
            with contextlib.suppress(OSError):
                worker.connection.close()
        late = time.monotonic() + _PATIENCE
        for worker in self._workers:
            worker.process.join(max(0.0, late - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def _received(self, worker: _Worker) -> tuple[Job, Outcome] | None:
        """What a worker says; None where it died and another took its run."""
        job = worker.job
        assert job is not None
        try:
            outcome = worker.connection.recv() if worker.connection.poll() else None
        except (EOFError, OSError):
            outcome = None
        if isinstance(outcome, Outcome):
            worker.job = None
            return job, outcome
        if outcome is not None:
            raise RunInterrupted(str(outcome))
        worker.process.join()
        self._workers.remove(worker)
        if self._attempts[job.key] < ATTEMPTS:
            self.submit(job)
            return None
        code = worker.process.exitcode
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        return job, failed(
            job, self._place, f"its process ended {how}, {ATTEMPTS} times; if memory ran out, use fewer --jobs"
        )

    def _start(self) -> _Worker:
        here, there = self._context.Pipe()
        assert self._place.threads is not None
        with environment(self._place.threads):  # for contexts that start processes from nothing
            given = (there, self._place, dict(os.environ))
            process = self._context.Process(target=serve, args=given, daemon=True)
            process.start()
        there.close()
        worker = _Worker(process, here)
        self._workers.append(worker)
        return worker


def serve(connection: Connection, place: Place, environment: dict[str, str]) -> None:
    """A worker's life: runs in, outcomes out, until nobody is there to hear them."""
    os.environ.update(environment)  # what it is a copy of has that of an earlier moment
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt, EOFError, OSError):
        while True:
            job = connection.recv()
            try:
                said: Any = carry(job, place)
            except RunInterrupted as error:
                said = str(error)
            connection.send(said)


def _end_with_parent() -> None:
    """Stop as on a signal, with a checkpoint, when the process that asked for this one is no more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def drive(pool: Pool, following: Callable[[Collection[str]], Job | None], told: Callable[[Job, Outcome], None]) -> None:
    """Keep a pool busy until nothing is left to do.

    Args:
        following: the next run, given the keys of those that go on; None: none for now. told: hears of each that ended.
    """
    running: set[str] = set()
    while True:
        while len(running) < pool.size and (job := following(running)) is not None:
            pool.submit(job)
            running.add(job.key)
        if not running:
            return
        job, outcome = pool.wait()
        running.discard(job.key)
        told(job, outcome)


def make_pool(place: Place, jobs: int, ray: str = "") -> Pool:
    """The pool for so many runs side by side.

    Args:
        ray: ``auto`` or a cluster's address; empty: without Ray.
    """
    if ray:
        from .ray_pool import RayPool

        return RayPool(place, ray, jobs)
    return Here(place) if jobs == 1 else Processes(place, jobs)
