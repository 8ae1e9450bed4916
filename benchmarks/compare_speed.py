"""What a sweep costs beside the runs in it, and what two processes gain.

    python -m benchmarks.compare_speed [--epochs 60,200] [--rounds 3]

24 runs on digits are made from nothing, one thread a run, for each number of epochs and in so many rounds:

* in this process, as calls of ``prune`` one after the other, and as a sweep with one job. Both examine, hold against
  the dense network and time latency. The ratio minus one is the overhead of the harness; aim 5%;
* as commands, ``secateurs compare`` with ``--jobs 1`` and ``--jobs 2``, from the first import to the written page. Aim
  0.6 on two cores. What cannot be shared stays: imports, latencies (measured while nothing else runs), the page.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from secateurs import Budget
from secateurs.compare import Asked, How, asked, compare
from secateurs.compare.carry import Place, ended
from secateurs.compare.protocol import command
from secateurs.compare.schedule import Schedule
from secateurs.recipes import After, hold_against, prune, time_against

RUNS = 24


def request(epochs: int, seeds: int = RUNS // 4) -> Asked:
    """24 runs: three methods and the dense network over six seeds at one budget."""
    return asked(
        model="zoo:mlp-digits",
        data="digits",
        methods=("equilibrium",),
        budgets=(Budget(macs=0.3),),
        seeds=tuple(range(seeds)),
        epochs=epochs,
    )


def plainly(wanted: Asked, folder: Path) -> None:
    """The same runs as calls, in the order of their dependencies."""
    folder.mkdir(parents=True)
    known = ended(Place(folder))
    schedule = Schedule(wanted, known)
    made: dict[Path, list[Path]] = {}
    while jobs := schedule.ready():
        for job in jobs:
            out, dense = folder / "runs" / job.key, folder / "runs" / (job.dense or job.key)
            prune(job.config, out, progress=False, after=After(onnx=False, latency=False))
            if job.dense:
                hold_against(out, dense)
            made.setdefault(dense, []).append(out)
        known.update(ended(Place(folder)))
    for dense, outs in made.items():
        time_against(outs, dense)


def commanded(wanted: Asked, jobs: int) -> Callable[[Path], object]:
    """The sweep as a command, in a process of its own."""
    words = command(wanted).removeprefix("secateurs ").removesuffix("DIR").split()
    start = [sys.executable, "-m", "secateurs", *words]
    more = ["--jobs", str(jobs), "--threads", "1"]
    return lambda folder: subprocess.run([*start, str(folder), *more], check=True, capture_output=True)


def seconds(call: Callable[[Path], object]) -> float:
    """Wall seconds of a call with a fresh folder."""
    folder = Path(tempfile.mkdtemp())
    try:
        start = time.perf_counter()
        call(folder / "c")
        return time.perf_counter() - start
    finally:
        shutil.rmtree(folder)


def measured(wanted: Asked, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, round by round, taking turns."""
    ways: dict[str, Callable[[Path], object]] = {
        "calls": lambda folder: plainly(wanted, folder),
        "sweep": lambda folder: compare(wanted, folder, How(threads=1, progress=False)),
        "--jobs 1": commanded(wanted, 1),
        "--jobs 2": commanded(wanted, 2),
    }
    out: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in sorted(ways, reverse=bool(turn % 2)):
            out[name].append(seconds(ways[name]))
    return out


def told(found: dict[str, list[float]]) -> list[str]:
    """Lines about one number of epochs."""

    def ratio(above: str, below: str) -> float:
        return statistics.median(a / b for a, b in zip(found[above], found[below]))

    lines = [f"  {n:10} {statistics.median(s):7.2f} s  ({min(s):.2f} to {max(s):.2f})" for n, s in found.items()]
    lines.append(f"  overhead of the harness: {100 * (ratio('sweep', 'calls') - 1):+.1f}% (aim: at most 5%)")
    lines.append(f"  two jobs over one: {ratio('--jobs 2', '--jobs 1'):.2f} (aim: at most 0.60 on two cores)")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", default="60,200")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    seconds(lambda folder: compare(request(1), folder, How(threads=1, progress=False)))  # imports, caches
    for epochs in map(int, args.epochs.split(",")):
        print(f"{RUNS} runs of {epochs} epochs on digits, {args.rounds} rounds; median (range)")
        print("\n".join(told(measured(request(epochs), args.rounds))), flush=True)


if __name__ == "__main__":
    main()
