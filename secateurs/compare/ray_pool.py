"""Runs as Ray tasks, on this machine or a cluster: each asks for its cores and, where there are GPUs, for one of them.

A task that loses its worker is started again by Ray and continues from its run's checkpoint. The comparison's folder
must lie on storage that all nodes see under the same path; its locks keep a run from being made twice all the same.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import replace
from typing import Any

from ..errors import RunError, RunInterrupted, require
from .carry import Place, carry, failed
from .pool import ATTEMPTS, Pool
from .schedule import Job, Outcome

LOCAL = "auto"  # the address that starts Ray here
_ANSWER = 10.0  # seconds that an address has to answer
_PATIENCE = 60.0  # seconds that a stopped task has to finish its step and save


class RayPool(Pool):
    """As many runs at a time as the cluster has room for, or ``jobs``.

    Args:
        address: ``auto`` starts Ray on this machine; else the address of a cluster, ``HOST:PORT``.
        jobs: runs side by side; 1: as many as there are cores for.

    Raises:
        MissingExtraError: Ray is not installed.
        RunError: no cluster answers at the address.
    """

    def __init__(self, place: Place, address: str, jobs: int = 1) -> None:
        self._ray = require("ray", "ray")
        self._ours = not self._ray.is_initialized()
        if self._ours:
            self._join(address)
        there = self._ray.cluster_resources()
        cores = max(1, int(there.get("CPU", 1)))
        threads = place.threads or (max(1, cores // jobs) if jobs > 1 else 1)
        self.size = jobs if jobs > 1 else max(1, cores // threads)
        # Absolute: a worker's own folder is another one.
        self._place = replace(place, folder=place.folder.resolve(), threads=threads)
        gpus = 1 if there.get("GPU", 0) >= 1 else 0
        wanted = {"num_cpus": min(threads, cores), "num_gpus": gpus, "max_retries": ATTEMPTS - 1}
        self._task = self._ray.remote(**wanted)(_carry)
        self._running: dict[Any, Job] = {}

    def _join(self, address: str) -> None:
        _require_answer(address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        given: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {"address": address}
        try:
            self._ray.init(log_to_driver=False, logging_level="ERROR", **given)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _nobody(address, error) from None

    def submit(self, job: Job) -> None:
        self._running[self._task.remote(job, self._place)] = job

    def wait(self) -> tuple[Job, Outcome]:
        (ready, *_), _ = self._ray.wait(list(self._running), num_returns=1)
        job = self._running.pop(ready)
        try:
            return job, self._ray.get(ready)
        except RunInterrupted:
            raise
        except self._ray.exceptions.RayError as error:
            why = f"its worker was lost {ATTEMPTS} times, or Ray could not run it: {_first_line(error)}"
            return job, failed(job, self._place, why)

    def close(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            for reference in self._running:
                self._ray.cancel(reference, force=False)  # heard as Ctrl-C: a step is finished and saved
            if self._running:
                self._ray.wait(list(self._running), num_returns=len(self._running), timeout=_PATIENCE)
        self._running.clear()
        if self._ours:
            self._ray.shutdown()


def _require_answer(address: str) -> None:
    """Ray asks an address that does not answer for minutes, and then ends the process.

    Raises:
        RunError: nobody listens there.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon:
        return  # auto, local, and whatever else Ray knows by a name
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _nobody(address, error) from None


def _nobody(address: str, error: Exception) -> RunError:
    return RunError(
        f"--ray {address}: no Ray cluster answers there ({_first_line(error)}); `ray start --head` makes one, and "
        "--ray auto starts Ray on this machine"
    )


def _carry(job: Job, place: Place) -> Outcome:
    return carry(job, place)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
