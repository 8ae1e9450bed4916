"""Where workers come from: a process that has imported everything and does nothing, of which each is a copy.

It is started as early as the number of jobs is known, so that its imports and those of the command run side by side,
and a worker that dies is replaced within milliseconds. No torch here.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
from collections.abc import Iterator
from typing import Any

# torch imports the last of them when a model is first traced, which takes as long as the rest.
_PRELOADED = ["secateurs.compare.pool", "torch._dynamo"]


def origin(jobs: int, threads: int | None = None) -> Any:
    """The context that makes processes for so many runs side by side, on its way to having imported everything.

    Args:
        threads: of each process; None: its share of the cores. Those of the first call hold for what is imported.
    """
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    from multiprocessing import forkserver

    with environment(threads or share(jobs)):
        forkserver.ensure_running()
    return context


def share(jobs: int) -> int:
    """Threads of each of so many processes, so that the cores are used once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


@contextlib.contextmanager
def environment(threads: int) -> Iterator[None]:
    """What a process that is started within the block takes its number of threads from."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
