"""What a sweep costs beside the runs in it, and what two processes gain.

    python -m benchmarks.compare_speed

24 runs on digits are made three times, from nothing: one call of ``prune`` after the other, in this process; a sweep
with ``--jobs 1``; a sweep with ``--jobs 2``; each with one thread a run, and the whole in so many rounds. Printed:

* overhead: the sweep with one job over the plain calls (which also examine, hold against the dense network and time
  latency, as the sweep does), minus one; aim 5%;
* side by side: two jobs over one; aim 0.6 on two cores. Starting two processes is in it;
* the same against ``--jobs 1`` with all cores as threads, which is what one job has when it is told nothing.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from secateurs import Budget
from secateurs.compare import Asked, How, asked, compare
from secateurs.compare.carry import Place, ended
from secateurs.compare.schedule import Schedule
from secateurs.recipes import After, hold_against, prune, time_against

RUNS = 24


def request(epochs: int) -> Asked:
    """24 runs: three methods and the dense network over six seeds at one budget."""
    return asked(
        model="zoo:mlp-digits",
        data="digits",
        methods=("equilibrium",),
        budgets=(Budget(macs=0.3),),
        seeds=tuple(range(6)),
        epochs=epochs,
    )


def plainly(wanted: Asked, folder: Path) -> None:
    """The same runs as calls, in the order of their dependencies."""
    known = ended(Place(folder))
    schedule = Schedule(wanted, known)
    while jobs := schedule.ready():
        for job in jobs:
            out, dense = folder / "runs" / job.key, folder / "runs" / (job.dense or job.key)
            prune(job.config, out, progress=False, after=After(onnx=False, latency=False))
            if job.dense:
                hold_against(out, dense)
            time_against(out, dense)
        known.update(ended(Place(folder)))


def seconds(call: Callable[[Path], object]) -> float:
    """Wall seconds of a call with a fresh folder."""
    folder = Path(tempfile.mkdtemp())
    try:
        start = time.perf_counter()
        call(folder / "c")
        return time.perf_counter() - start
    finally:
        shutil.rmtree(folder)


def measured(epochs: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, round by round, taking turns."""
    wanted = request(epochs)
    cores = torch.get_num_threads()

    def one(threads: int) -> Callable[[Path], object]:
        return lambda folder: compare(wanted, folder, How(jobs=1, threads=threads, progress=False))

    def plain(folder: Path) -> None:
        torch.set_num_threads(1)
        plainly(wanted, folder)

    ways = {
        "calls": plain,
        "one job": one(1),
        "two jobs": lambda folder: compare(wanted, folder, How(jobs=2, threads=1, progress=False)),
        "one job, all cores": one(cores),
    }
    seconds(lambda folder: compare(request(1), folder, How(threads=1, progress=False)))  # imports, caches
    out: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in sorted(ways, reverse=bool(turn % 2)):
            out[name].append(seconds(ways[name]))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    found = measured(args.epochs, args.rounds)
    print(f"{RUNS} runs of {args.epochs} epochs on digits, {args.rounds} rounds; seconds, median (range)")
    for name, taken in found.items():
        print(f"{name:20} {statistics.median(taken):7.2f}  ({min(taken):.2f} to {max(taken):.2f})")

    def ratio(above: str, below: str) -> float:
        return statistics.median(a / b for a, b in zip(found[above], found[below]))

    print(f"overhead of the harness: {100 * (ratio('one job', 'calls') - 1):+.1f}% (aim: at most 5%)")
    print(f"two jobs over one: {ratio('two jobs', 'one job'):.2f} (aim: at most 0.60 on two cores)")
    print(f"two jobs over one with all cores: {ratio('two jobs', 'one job, all cores'):.2f}")


if __name__ == "__main__":
    main()
