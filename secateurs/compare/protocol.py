"""How a comparison was made, in sentences, and the command that makes it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..records import Record
from ..spec import written
from .rates import USUAL
from .request import Asked, distinct, product


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
        "Latency: batch 1, one thread, after all trainings had ended, in units of the dense network of the same seed, "
        "with which each was interleaved.",
    ]
    if asked.options:
        out.append(f"Options of all methods that have them: {written(asked.options)}.")
    return out


def _grid(asked: Asked) -> str:
    if asked.search is not None:
        among = ", ".join(method for method in asked.methods if method != "random")
        return (
            f"Under each budget {asked.search.trials} trials, proposed by Optuna, chose a method and its options by "
            f"validation accuracy at seed {asked.seeds[0]}, among {among}; defaults came first{_no_more(asked)}. "
            "Trials do not read the test set. Beside the choice, the others train with its learning rates or those "
            f"of the usual grid ({'; '.join(written(p) or 'defaults' for p in asked.grid)}), whichever does best on "
            "validation data."
        )
    if len(asked.grid) == 1:
        chosen = asked.grid[0]
        return f"Nothing was tuned: every method ran with {written(chosen) if chosen else 'its defaults'}."
    points = "; ".join(written(point) for point in asked.grid)
    return (
        f"The optimizer grid is the same for every method ({points}): at each budget a method takes the point with the "
        f"highest validation accuracy at seed {asked.seeds[0]}. Trial runs do not read the test set."
    )


def _no_more(asked: Asked) -> str:
    """A search that is too short to look at anything but defaults says so."""
    assert asked.search is not None
    choices = sum(method != "random" for method in asked.methods)
    return "" if asked.search.trials > choices else ", and no trial was left for anything else"


def _masks(asked: Asked) -> str:
    return " under its mask (random reinitialisation)" if asked.granularity == "weight" else ""


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
    """The command line that asks for this comparison; empty where it was asked for in Python and has none."""
    named = list(asked.methods)
    for added in ("random", asked.against):  # at the end, where nobody named them
        if named[-1] == added and len(named) > 1:
            named.pop()
    grid = choosing(asked)
    if grid is None:
        return ""
    words = ["secateurs", "compare", "--model", asked.model, "--data", asked.data, "--methods", ",".join(named)]
    for budget in asked.budgets:
        words += ["--budgets", str(budget).replace(",", "+")]
    if asked.search is not None:
        words += ["--search", "--trials", str(asked.search.trials)]
    words += ["--epochs", str(asked.epochs), "--batch-size", str(asked.batch_size), "--seeds", _seeds(asked), *grid]
    plain = {"granularity": "channel", "against": "magnitude", "mixed_precision": "no"}
    for name, usual in plain.items():
        if getattr(asked, name) != usual:
            words += [f"--{name.replace('_', '-')}", getattr(asked, name)]
    if asked.scratch != (tuple(named[:1]) if asked.search is None else tuple(named)):
        words += ["--scratch", ",".join(asked.scratch) or "none"]
    for name, value in asked.options.items():
        words += ["--set", f"{name}={_value(value)}"]
    return shlex.join([*words, "--out", "DIR"])


def _seeds(asked: Asked) -> str:
    if asked.seeds == tuple(range(len(asked.seeds))):
        return str(len(asked.seeds))
    return ",".join(map(str, asked.seeds)) + ("," if len(asked.seeds) == 1 else "")


def choosing(asked: Asked) -> list[str] | None:
    """The grid in words of the command line; None where it cannot be said there."""
    words: list[str] = []
    if asked.grid == ({},):
        words = ["--no-tune"]
    elif not _usual(asked):
        axes = {name: distinct([p[name] for p in asked.grid if name in p]) for point in asked.grid for name in point}
        if product(axes) != asked.grid or asked.search is not None:
            return None
        return _grids(axes)
    values = [] if asked.search is None else _grids(asked.search.values)
    return None if values is None else [*words, *values]


def _usual(asked: Asked) -> bool:
    free = [name for name in ("lr", "recovery_lr") if name not in asked.options]
    return list(asked.grid) in [[dict.fromkeys(free, rate) for rate in rates] for rates in USUAL.values()]


def _grids(axes: Mapping[str, Sequence[Any]]) -> list[str] | None:
    if any("," in _value(value) for values in axes.values() for value in values):
        return None
    return [word for name, values in axes.items() for word in ("--grid", f"{name}={','.join(map(_value, values))}")]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
