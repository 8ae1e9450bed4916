"""A comparison as large as they come: 34 methods at three budgets over five seeds, 515 runs. All of it is made up."""

from __future__ import annotations

import base64
import random
import struct
import zlib
from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev

from secateurs.records import Block, Comparison, Difference, Estimate, Exemplar, Failure, Row, RunRow

METHODS = (
    "equilibrium", "magnitude", "magnitude-l1", "geometric-median", "bn-scale", "activation", "apoz", "taylor",
    "taylor2", "skeleton", "obd", "obs", "fisher", "snip", "grasp", "synflow", "dpp", "importance",
    "importance-signed", "entropy", "norm-gradient", "imp", "imp-early", "rewind", "concave-log", "concave-power",
    "early-bird", "gates", "hessian-trace", "slimming", "feature-map", "random", "imp-random", "scratch:equilibrium",
)  # fmt: skip
CONTROLS = ("random", "imp-random", "scratch:equilibrium")
BUDGETS = {"macs=0.5": 0.5, "macs=0.25": 0.25, "macs=0.1": 0.1}
T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's t, 97.5%, by the number of seeds
DENSE = {"params": 272_474, "macs": 40_813_184, "bytes": 1_114_112, "latency_ms": 3.9}
FIGURES = tuple(name for name, field in RunRow.model_fields.items() if name not in ("seed",) and field.default is None)


def example_comparison(
    methods: Sequence[str] = METHODS, budgets: Sequence[str] = tuple(BUDGETS), seeds: int = 5
) -> Comparison:
    """A comparison with every section filled, the same at every call."""
    draw = random.Random(0)
    runs = [_run(draw, "dense", "", seed, 0.9231, 1.0) for seed in range(seeds)]
    failures = []
    skill = {name: draw.gauss(0.0, 1.0) + 2.4 * (name == "equilibrium") for name in methods}
    for budget in budgets:
        share = BUDGETS[budget]
        for name in methods:
            level = 0.915 - 0.045 * (1 - share) ** 3 + 0.012 * skill[name] * (1 - share)
            for seed in range(seeds):
                if name == "obs" and share < 0.2 and seed > 1:
                    failures.append(_failure(name, budget, seed))
                else:
                    runs.append(_run(draw, name, budget, seed, level, share))
    blocks = [_block(draw, budget, methods, runs, failures) for budget in budgets]
    return Comparison(
        model="zoo:resnet20",
        data="cifar10:data",
        epochs=20,
        steps=7040,
        seeds=list(range(seeds)),
        methods=list(methods),
        protocol=[
            "Every run takes 7,040 optimizer steps (20 epochs in batches of 128): training before the cut, pruning and "
            "recovery counted together.",
            "The test set is read once in every finished run, by the network after removal and recovery.",
            "Intervals are 95% (Student's t over seeds); differences are paired by seed; p is not adjusted.",
        ],
        dense=_row("dense", [run for run in runs if run.method == "dense"]),
        blocks=blocks,
        runs=runs,
        failures=failures,
        missing=7,
        provenance={"device": "cpu", "threads of a run": "1", "data": "0123456789abcdef", "torch": "2.8.0"},
        command="secateurs compare --model zoo:resnet20 --data cifar10:data --methods all --budgets macs=0.5,0.25,0.1 "
        "--epochs 20 --batch-size 128 --seeds 5 --out DIR",
    )


def _run(draw: random.Random, method: str, budget: str, seed: int, level: float, share: float) -> RunRow:
    accuracy = min(0.94, max(0.1, draw.gauss(level, 0.0025)))
    key = f"{draw.getrandbits(48):012x}"
    dense = method == "dense"
    return RunRow(
        hash=key,
        folder=f"runs/{key}",
        method=method,
        budget=budget,
        seed=seed,
        options={"lr": draw.choice([0.05, 0.1])},
        validation=accuracy + draw.gauss(0.003, 0.002),
        accuracy=accuracy,
        loss=0.3 - 0.2 * (accuracy - 0.9),
        params=round(DENSE["params"] * share ** draw.uniform(0.75, 1.15)),
        macs=round(DENSE["macs"] * share * draw.uniform(0.985, 1.0)),
        bytes=round(DENSE["bytes"] * share ** draw.uniform(0.75, 1.15)),
        latency=1.0 if dense else (slow := (0.2 + 0.8 * share) * draw.uniform(0.93, 1.07)),
        latency_ms=DENSE["latency_ms"] * (1.0 if dense else slow) * draw.uniform(0.9, 1.3),
        seconds=draw.uniform(300, 420) * (2.4 if method == "obs" else 1.0),
        peak_memory=round(draw.uniform(8e8, 9.5e8)),
        worst_class=accuracy - draw.uniform(0.08, 0.15),
        worst_drop=None if dense else draw.uniform(0.01, 0.06),
        calibration_error=draw.uniform(0.01, 0.05),
        agreement=None if dense else accuracy + 0.02,
        kl=None if dense else draw.uniform(0.05, 0.4),
        membership_auc=draw.uniform(0.5, 0.58),
        command=f"secateurs export runs/c/runs/{key} --onnx {method.replace(':', '-')}.onnx",
    )


def _failure(method: str, budget: str, seed: int) -> Failure:
    error = "the budget macs=0.1 cannot be met: 5,120 MACs are needed by what may not be removed"
    return Failure(hash=f"f{seed}", method=method, budget=budget, seed=seed, error=error)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of up to five seeds."""
    n = len(values)
    if n < 2:
        return Estimate(mean=values[0], n=n)
    width = T[n] * stdev(values) / sqrt(n)
    return Estimate(
        mean=mean(values), low=mean(values) - width, high=mean(values) + width, deviation=stdev(values), n=n
    )


def _row(method: str, runs: Sequence[RunRow], failed: int = 0) -> Row:
    figures = {}
    for name in FIGURES:
        values = [float(v) for run in runs if isinstance(v := getattr(run, name), (int, float))]
        if values:
            figures[name] = estimate(values)
    return Row(
        method=method,
        role="control" if method in CONTROLS or method == "dense" else "method",
        runs=[run.hash for run in runs],
        failed=failed,
        options=runs[0].options if runs else {},
        figures=figures,
    )


def _against(row: Row, runs: Sequence[RunRow], base: Sequence[RunRow]) -> Difference | None:
    other = {run.seed: run.accuracy for run in base}
    values = [a - b for r in runs if (a := r.accuracy) is not None and (b := other.get(r.seed)) is not None]
    if not values or row.method == "magnitude":
        return None
    found = estimate(values)
    p = None if found.low is None else 0.0004 if found.low > 0 else 0.18
    return Difference(**found.model_dump(), p=p)


def _block(
    draw: random.Random, budget: str, methods: Sequence[str], runs: Sequence[RunRow], failures: Sequence[Failure]
) -> Block:
    by = {name: [run for run in runs if run.method == name and run.budget == budget] for name in methods}
    rows = [_row(name, by[name], sum(f.method == name and f.budget == budget for f in failures)) for name in methods]
    rows = [row for row in rows if row.figures]
    rows.sort(key=lambda row: -row.figures["accuracy"].mean)
    for row in rows:
        row.against = _against(row, by[row.method], by.get("magnitude", []))
    first = next(row for row in rows if row.role == "method")
    won = budget == "macs=0.1"
    first.best = True
    lead = f"{first.method} ({100 * first.figures['accuracy'].mean:.2f})"
    return Block(
        budget=budget,
        amounts={"macs": BUDGETS[budget]},
        rows=rows,
        winner=first.method if won else None,
        sentence=f"At {budget} {lead} wins: it is ahead of each of the {len(rows) - 1} others over 5 seeds."
        if won
        else f"At {budget} there is no winner: {lead} leads, and others cannot be told from it over 5 seeds.",
        flipped={name: draw.randrange(150, 900) for name in methods},
        shown=first.method,
        exemplars=[_exemplar(draw, i) for i in range(24)] if won else [],
    )


def _exemplar(draw: random.Random, i: int) -> Exemplar:
    label = draw.randrange(10)
    dense = label if i % 4 else (label + 3) % 10
    pruned = (label + 1) % 10 if i % 4 else label
    share = draw.choice([0.6, 0.8, 1.0])
    return Exemplar(
        index=draw.randrange(10_000), label=label, dense=dense, pruned=pruned, share=share, picture=_png(draw)
    )


def _png(draw: random.Random, side: int = 32) -> str:
    """A picture of nothing, 32 × 32, in colours."""
    a, b, c = (draw.randrange(256) for _ in range(3))
    lines = b"".join(
        b"\0" + bytes(v for x in range(side) for v in ((a + 5 * x) % 256, (b + 6 * y) % 256, (c + x * y) % 256))
        for y in range(side)
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()
