"""One run of a sweep, carried out in this process: never twice, and continued if it was interrupted.

A run's folder is named by its configuration's hash. Whoever works there holds a lock, which the system takes back from
a process that dies; so several sweeps can share a folder, and a new one need not know of an old one's leftovers.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunInterrupted, SecateursError
from ..recipes import FOLDER, After, Tracking, hold_against, prune, read_test, tell
from ..records import RECORD_FILE
from ..storage import write_json
from .columns import OtherVersion, read_row
from .index import Index
from .schedule import Job, Outcome

RUNS, FAILURES, LOCKS = "runs", "failures", "locks"


@dataclass(frozen=True)
class Place:
    """A comparison's folder, and what its runs have in common besides their configuration.

    Attributes:
        threads: of a run's training; None: torch's own.
        track: names of trackers that hear of the runs.
    """

    folder: Path
    threads: int | None = None
    track: tuple[str, ...] = ()

    @property
    def tracking(self) -> Tracking:
        """One place for all runs, so that a tracker shows them together."""
        return Tracking(self.track, self.folder / FOLDER, self.folder.resolve().name)

    def run(self, key: str) -> Path:
        """Where a run lies."""
        return self.folder / RUNS / key

    def failure(self, key: str) -> Path:
        """Where it is written why a run failed."""
        return self.folder / FAILURES / f"{key}.json"


def carry(job: Job, place: Place) -> Outcome:
    """Make a run, or complete it. A failure is written down, and is an outcome too.

    Raises:
        RunInterrupted: a signal; what was done is kept.
    """
    if place.threads is not None:
        import torch

        torch.set_num_threads(place.threads)
    with locked(place.folder / LOCKS / job.key):
        try:
            _carry(job, place)
        except RunInterrupted:
            raise
        except SecateursError as error:
            return failed(job, place, str(error))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return failed(
                job, place, f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
            )
        place.failure(job.key).unlink(missing_ok=True)
        return outcome_of(place.run(job.key))


def _carry(job: Job, place: Place) -> None:
    out = place.run(job.key)
    if out.exists() and (not (out / "config.json").exists() or _damaged(out / RECORD_FILE)):
        shutil.rmtree(out)  # killed before it began, or broken since: what it is called says how it is made again
    if not (out / RECORD_FILE).exists():
        prune(
            job.config,
            out,
            resume=out.exists(),
            progress=False,
            after=After(test=job.test, onnx=False, latency=False),
            track=place.tracking,
        )
    elif job.test:
        read_test(out)
        tell(place.tracking, out)
    if job.test and job.dense:
        hold_against(out, place.run(job.dense))


def _damaged(path: Path) -> bool:
    """Whether a file is there and no record. We write it whole or not at all; disks do not."""
    try:
        read_row(path.read_bytes(), "")
    except (FileNotFoundError, OtherVersion):
        return False
    except ValueError:
        return True
    return False


def failed(job: Job, place: Place, error: str) -> Outcome:
    """Write down why a run failed, so that it is not made again unasked."""
    write_json(
        place.failure(job.key),
        {"label": job.label, "budget": job.budget, "seed": job.config.seed, "error": error}
        | {"config": job.config.model_dump(mode="json")},
    )
    return Outcome(error=error)


def failure_at(path: Path) -> dict[str, Any] | None:
    """What is written down of a run that failed; None where that was broken, and the run is made again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    whole = isinstance(found, dict) and {"label", "budget", "seed", "error"} <= set(found)
    config = found.get("config") if whole else None
    return found if isinstance(config, dict) and isinstance(config.get("options"), dict) else None


def forget(place: Place) -> None:
    """Let runs that failed be made again, from their beginning: what they left may be why they failed."""
    for path in (place.folder / FAILURES).glob("*.json"):
        with locked(place.folder / LOCKS / path.stem):
            out = place.run(path.stem)
            if out.exists() and not (out / RECORD_FILE).exists():
                shutil.rmtree(out)
            path.unlink(missing_ok=True)


def outcome_of(out: Path) -> Outcome:
    """What a finished run's record tells."""
    found = json.loads((out / RECORD_FILE).read_text(encoding="utf-8"))
    pruned = found["pruned"]
    return Outcome(found["validation"], pruned["accuracy"] is not None, pruned["latency_ms"] is not None)


def ended(place: Place) -> dict[str, Outcome]:
    """Every run that ended, by hash."""
    out: dict[str, Outcome] = {}
    for path in sorted((place.folder / FAILURES).glob("*.json")):
        if (why := failure_at(path)) is not None:
            out[path.stem] = Outcome(error=why["error"])
    columns = ("folder", "validation", "accuracy", "latency_ms")
    with Index(place.folder) as index:
        for row in index.rows(columns=columns):
            tested, timed = row["accuracy"] is not None, row["latency_ms"] is not None
            out[Path(row["folder"]).name] = Outcome(row["validation"], tested, timed)
    return out


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; wait for whoever has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows: sweeps must not share a folder there
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
