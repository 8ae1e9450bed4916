"""Latencies, once every training is over: two runs side by side would disturb each other's clocks."""

from __future__ import annotations

from pathlib import Path

from ..recipes import time_against
from .carry import Place
from .progress import Progress
from .schedule import Schedule

AT_ONCE = 8  # networks in memory beside the dense one


def time_networks(folder: Path, schedule: Schedule, bar: Progress) -> None:
    """Measure what has no latency yet, some networks of a seed at a time, interleaved with its dense one."""
    place = Place(folder)
    known = schedule.ended
    todo: dict[str, list[Path]] = {}
    for job in (job for cell in schedule.cells() for job in schedule.jobs_of(cell)):
        if job.key in known and known[job.key].tested and not known[job.key].timed:
            todo.setdefault(job.dense or job.key, []).append(place.run(job.key))
    done, total = 0, sum(map(len, todo.values()))
    for dense, outs in todo.items():
        for start in range(0, len(outs), AT_ONCE):
            bar.timing(done, total)
            some = outs[start : start + AT_ONCE]
            time_against(some, place.run(dense))
            done += len(some)
