"""How a comparison was made, in sentences, and the command that makes it."""

from __future__ import annotations

import json
import shlex
from typing import Any

from ..records import Record
from .request import Asked


def protocol(asked: Asked, record: Record | None) -> list[str]:
    """What was the same for all runs, and what was chosen how.

    Args:
        record: of any finished run.
    """
    steps = record.train.steps.get("total") if record is not None else None
    took = f"{steps:,} optimizer steps" if steps else "equally many optimizer steps"
    out = [
        f"Every run takes {took} ({asked.epochs} epochs in batches of {asked.batch_size}): training before the cut, "
        "pruning and recovery counted together.",
        f"Seeds {', '.join(map(str, asked.seeds))}: a seed decides initial weights, the order of the data and the "
        "validation split, and all methods share it.",
        _grid(asked),
        "The test set is read once in every finished run, by the network after removal and recovery.",
        "Intervals are 95% (Student's t over seeds); differences are paired by seed; p is not adjusted for the number "
        "of comparisons.",
        "Controls: dense is the whole network trained for the same steps; random removes groups at random; "
        f"scratch:METHOD trains the network that METHOD found from fresh weights{_masks(asked)}.",
        "Latency: batch 1, one thread, each network interleaved with the dense one of its seed, after all trainings "
        "had ended.",
    ]
    if asked.options:
        out.append(f"Options of all methods: {_options(asked.options)}.")
    return out


def _grid(asked: Asked) -> str:
    if len(asked.grid) == 1:
        chosen = asked.grid[0]
        return f"Nothing was tuned: every method ran with {_options(chosen) if chosen else 'its defaults'}."
    points = "; ".join(_options(point) for point in asked.grid)
    return (
        f"The optimizer grid is the same for every method ({points}): at each budget a method takes the point with the "
        f"highest validation accuracy at seed {asked.seeds[0]}. Trial runs do not read the test set."
    )


def _masks(asked: Asked) -> str:
    return " under its mask (random reinitialisation)" if asked.granularity == "weight" else ""


def _options(given: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in given.items())


def provenance(record: Record | None) -> dict[str, str]:
    """Where it ran, from any finished run."""
    if record is None:
        return {}
    return {
        "device": record.device,
        "threads of a run": str(record.threads),
        "data": record.data_hash[:16],
        **record.versions,
    }


def command(asked: Asked) -> str:
    """The command line that asks for this comparison."""
    words = ["secateurs", "compare", "--model", asked.model, "--data", asked.data]
    words += ["--methods", ",".join(m for m in asked.methods if m not in ("random", asked.against)) or asked.against]
    for budget in asked.budgets:
        words += ["--budgets", str(budget).replace(",", "+")]
    words += ["--epochs", str(asked.epochs), "--batch-size", str(asked.batch_size)]
    contiguous = asked.seeds == tuple(range(len(asked.seeds)))
    words += ["--seeds", str(len(asked.seeds)) if contiguous else ",".join(map(str, asked.seeds))]
    if asked.granularity != "channel":
        words += ["--granularity", asked.granularity]
    for name, value in asked.options.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*words, "--out", "DIR"])
