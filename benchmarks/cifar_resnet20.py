"""resnet20 on CIFAR-10 at a MACs budget: the game against the same shape from scratch, one-shot Taylor and filter ℓ2.

    python -m benchmarks.cifar_resnet20 --data cifar10:DIR [--macs 0.4] [--epochs 8] [--limit 10000] [--seeds 2]
                                        [--granularity block]

Equal total optimizer steps, batch, precision and data order for every method. Accuracy is that of the smaller network
after recovery. Finished experiments are kept under runs/benchmarks and not run again. A short schedule on part of
the data, made for a CPU: on a GPU pass --epochs 160 --limit 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from secateurs.reproduce.cells import Cell, run_cells
from secateurs.reproduce.experiments import run_method, run_scratch

MODEL = "zoo:resnet20"
KINDS = {"method": run_method, "scratch": run_scratch}
CACHE = Path("runs/benchmarks/cifar_resnet20")
METHODS = ("equilibrium", "taylor", "magnitude", "random")


def settings(data: str, epochs: int, limit: int | None, precision: str, granularity: str) -> dict[str, Any]:
    """What every experiment here has in common."""
    common = {"data": data, "model": MODEL, "epochs": epochs, "limit": limit, "mixed_precision": precision}
    return {**common, "granularity": granularity}


def line(name: str, results: list[dict[str, Any]]) -> str:
    accuracy = [100 * r["removed"] for r in results]
    spread = f"± {stdev(accuracy):.2f}" if len(accuracy) > 1 else ""
    each = ", ".join(f"{a:.2f}" for a in accuracy)
    macs, params = mean(r["macs"] for r in results), mean(r["params"] for r in results)
    return f"{name:28} {mean(accuracy):6.2f} {spread:8} ({each})  {macs / 1e6:6.2f} MMACs {params:9,.0f} parameters"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--macs", type=float, default=0.4)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--limit", type=int, default=10000, help="training images; 0: all")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--precision", default="bf16", choices=["no", "bf16", "fp16"])
    parser.add_argument("--granularity", default="channel", choices=["channel", "block"])
    parser.add_argument("--methods", default=",".join(METHODS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    limit = arguments.limit or None
    common = settings(arguments.data, arguments.epochs, limit, arguments.precision, arguments.granularity)
    cache, found = CACHE, {}
    for name in arguments.methods.split(","):
        cells = [
            Cell(
                "method",
                {**common, "budget": {"macs": arguments.macs}, "name": name, "options": {}},
                seed,
            )
            for seed in range(arguments.seeds)
        ]
        found[name] = run_cells(cells, KINDS, cache, jobs=arguments.jobs)
        print(line(name, found[name]), flush=True)
        if name == "equilibrium":
            print("  widths", found[name][0]["widths"], flush=True)
            cells = [
                Cell("scratch", {**common, "widths": r["widths"], "lr": 0.1}, seed)
                for seed, r in enumerate(found[name])
            ]
            print(line("same shape from scratch", run_cells(cells, KINDS, cache, jobs=arguments.jobs)), flush=True)
    images = arguments.limit or "all"
    print(
        f"{arguments.granularity}s, {arguments.epochs} epochs on {images} training images (JPEG copies), "
        f"{arguments.precision}, "
        f"seeds 0–{arguments.seeds - 1}"
    )


if __name__ == "__main__":
    main()
