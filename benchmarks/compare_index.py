"""How long the index of many run records takes.

    python -m benchmarks.compare_index --records 2000

Made-up records of finished runs, of the size of real ones, in a temporary folder laid out as a comparison. Timed: the
index where there is none yet (the files themselves are in the system's cache), the index that is up to date, a query on
it, and the comparison of all of them: summed up, judged and written as a page.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from secateurs import Budget
from secateurs.compare import Asked, Index, asked, summed_up
from secateurs.compare.joining import keep
from secateurs.compare.schedule import Job, Outcome, Schedule
from secateurs.measure import write_predictions
from secateurs.records import Fidelity, HistoryPoint, LayerRow, Measured, PlayersBlock, Record, TrainBlock, TrainSeconds
from secateurs.report import write_comparison, write_reports

METHODS = ("equilibrium", "magnitude", "taylor", "snip", "random", "gradual", "rigl", "set", "obd", "fisher")
ANSWERS = 359  # examples in the test set of digits
BUDGETS = (0.5, 0.25, 0.1, 0.05)
QUERY = "method='equilibrium' and macs<0.3"
PLAYERS, POINTS, PARAMS, MACS = 384, 60, 535_818, 535_040


def template(rng: random.Random) -> Record:
    """A finished run, its large parts filled."""
    points = [
        HistoryPoint(
            step=40 * i,
            epoch=i / 3,
            phase="training" if i < POINTS // 2 else "recovery",
            loss=rng.random(),
            accuracy=0.9 + rng.random() / 20 if i % 3 == 0 else None,
            sparsity=rng.random(),
            mean_participation=rng.random(),
            active=rng.randrange(PLAYERS),
            lr=1e-3,
        )
        for i in range(POINTS)
    ]
    players = PlayersBlock(
        layer=[i * 2 // PLAYERS for i in range(PLAYERS)],
        participation=[rng.random() for _ in range(PLAYERS)],
        benefit=[rng.gauss(0, 1) for _ in range(PLAYERS)],
        cost=[rng.random() for _ in range(PLAYERS)],
        kept=[rng.random() < 0.3 for _ in range(PLAYERS)],
        epsilon=0.01,
    )
    return Record(
        method="equilibrium",
        model="zoo:mlp-512-256",
        data="mnist:data",
        budget={"macs": 0.25},
        layers=[LayerRow(name=n, kind="channel", total=PLAYERS // 2, kept=20, tied_to=[f"{n}.bias"]) for n in "ab"],
        groups_total=PLAYERS,
        train=TrainBlock(steps={"training": 1200, "recovery": 1200, "total": 2400}, batch_size=128),
        history=points,
        players=players,
        versions={"python": "3.11", "secateurs": "0.1.0", "torch": "2.13.0"},
        device="cpu",
        threads=1,
        created="2026-01-15T10:00:00+00:00",
        files={"artifact": "artifact", "report": "report.html"},
    )


def request(count: int) -> Asked:
    """A comparison of about so many runs: methods at budgets over seeds, and the dense network."""
    seeds = max(1, round(count / (len(METHODS) * len(BUDGETS) + 1)))
    budgets = tuple(Budget(macs=share) for share in BUDGETS)
    return asked(
        model="zoo:mlp-digits", data="digits", methods=METHODS, budgets=budgets, seeds=tuple(range(seeds)), epochs=20
    )


def jobs(wanted: Asked) -> list[Job]:
    """All of its runs."""
    known: dict[str, Outcome] = {}
    schedule, out = Schedule(wanted, known), []
    while ready := schedule.ready():
        out += ready
        known.update((job.key, Outcome(0.5, True, True)) for job in ready)
    return out


def records(wanted: Asked) -> Iterator[Record]:
    """As they would be when all are finished."""
    rng = random.Random(0)
    base = template(rng)
    dense = _measured(rng, 1.0)
    for job in jobs(wanted):
        config = job.config
        kept = 1.0 if config.method == "dense" else config.budget.given["macs"] * (0.95 + rng.random() / 20)
        yield base.model_copy(
            update={
                "method": config.method,
                "model": config.model,
                "data": config.data,
                "budget": config.budget.given,
                "dense": dense,
                "pruned": _measured(rng, kept),
                "fidelity": Fidelity(agreement=0.9 + rng.random() / 10, kl=rng.random(), flipped=90, gained=20),
                "validation": 0.9 + rng.random() / 10,
                "groups_kept": int(PLAYERS * kept),
                "train": base.train.model_copy(
                    update={"seconds": TrainSeconds(dense_equivalent=20 + rng.random(), recovery=10 + rng.random())}
                ),
                "config": config.model_dump(mode="json"),
                "config_hash": job.key,
                "seed": config.seed,
            }
        )


def _measured(rng: random.Random, share: float) -> Measured:
    return Measured(
        accuracy=0.9 + rng.random() / 10,
        loss=rng.random(),
        params=int(PARAMS * share),
        macs=int(MACS * share),
        bytes=int(4 * PARAMS * share),
        file_bytes=int(4 * PARAMS * share) + 700,
        latency_ms=0.1 * share + rng.random() / 100,
        latency_spread_ms=(0.1, 0.2),
        class_accuracy=[0.8 + rng.random() / 5 for _ in range(10)],
    )


def write(folder: Path, wanted: Asked) -> tuple[int, int]:
    """Write them as a comparison lays them out, with answers and reports. Returns how many, and their size in bytes."""
    size = count = 0
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(ANSWERS) % 10
    keep(wanted, folder)
    for record in records(wanted):
        count += 1
        run = folder / "runs" / record.config_hash
        (run / "artifact").mkdir(parents=True)
        text = record.model_dump_json(indent=2)
        (run / "record.json").write_text(text, encoding="utf-8")
        write_predictions(run, {"pruned": torch.randn(ANSWERS, 10, generator=generator)}, labels)
        (run / "report.html").touch()
        size += len(text)
    return count, size


def timed(call: Callable[[], object], rounds: int) -> str:
    """Median and range over rounds."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return f"{statistics.median(taken):.3f} s ({min(taken):.3f} to {max(taken):.3f}, {rounds} rounds)"


def cold(folder: Path) -> None:
    """The index made from nothing, and asked."""
    for file in folder.glob("index.sqlite*"):
        file.unlink()
    warm(folder)


def warm(folder: Path) -> None:
    """The index brought up to date, and asked."""
    with Index(folder) as index:
        index.rows(QUERY)


def page(folder: Path) -> None:
    """What `secateurs compare` does where nothing is missing: sum up, judge, write the page."""
    found = summed_up(folder)
    assert not found.missing
    write_reports([folder / run.folder for run in found.runs], folder)
    write_comparison(found, folder)


def fresh_page(folder: Path) -> None:
    """The same, nothing known from before."""
    for file in (*folder.glob("index.sqlite*"), folder / "answers.json"):
        file.unlink(missing_ok=True)
    page(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count, size = write(folder, request(args.records))
        print(f"{count:,} records of {size / count / 1000:.0f} kB, {os.cpu_count()} cores")
        print(f"  index made anew, and a query: {timed(lambda: cold(folder), args.rounds)} (aim: 2)")
        print(f"  index up to date, and a query: {timed(lambda: warm(folder), args.rounds)} (aim: 0.2)")
        with Index(folder) as index:
            found = len(index.rows(QUERY))
            print(f"  the query alone, {found} runs: {timed(lambda: index.rows(QUERY), args.rounds)}")
        print(f"  summary and page, nothing known before: {timed(lambda: fresh_page(folder), args.rounds)} (aim: 5)")
        print(f"  summary and page again: {timed(lambda: page(folder), args.rounds)} (aim: 5)")


if __name__ == "__main__":
    main()
