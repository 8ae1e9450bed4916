"""Latencies, once every training is over: two runs side by side would disturb each other's clocks."""

from __future__ import annotations

from pathlib import Path

from ..recipes import time_against
from .carry import Place
from .progress import Progress
from .schedule import Schedule


def time_networks(folder: Path, schedule: Schedule, bar: Progress) -> None:
    """Measure what has no latency yet, each network interleaved with the dense one of its seed."""
    place = Place(folder)
    jobs = [job for cell in schedule.cells() for job in schedule.jobs_of(cell)]
    known = schedule.ended
    todo = [job for job in jobs if job.key in known and known[job.key].tested and not known[job.key].timed]
    for done, job in enumerate(todo):
        bar.timing(done, len(todo))
        time_against(place.run(job.key), place.run(job.dense or job.key))
