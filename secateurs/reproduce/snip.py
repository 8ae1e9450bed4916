"""Reproduction of SNIP's table on LeNet-300-100 (Lee, Ajanthan, Torr 2019), and what else cuts before training.

Single weights are removed at initialisation, by one batch of 100 examples, and what is left is trained. Beside SNIP:
the dense network, other scores at initialisation, random weights, and magnitude after half of the same steps.

The paper: momentum SGD, learning rate 0.1 divided by ten every 25,000 iterations, batch 100, weight decay 5e-4, 20
seeds. Here: 60 epochs along a cosine, from a peak of 0.3, chosen on validation data at one other seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .cells import Asked, Kinds, Result
from .experiments import dataset, run_dense, run_method
from .page import Page, Section, spread

MODEL = "zoo:lenet-300-100"
KINDS: Kinds = {"method": run_method, "dense": run_dense}
SPARSITIES = (0.95, 0.98)
TRAINING = {"optimizer": "sgd", "lr": 0.3, "weight_decay": 5e-4, "clip": 1.0}
EARLY: dict[str, Any] = {"cut": 0.0, "calibration": 1}
ROWS: tuple[tuple[str, str, dict[str, Any]], ...] = (  # label, method, its options
    ("SNIP", "snip", EARLY),
    ("SNIP in 20 rounds, 10 batches", "snip", {"cut": 0.0, "calibration": 10, "rounds": 20}),
    ("GraSP", "grasp", EARLY),
    ("SynFlow", "synflow", {"cut": 0.0}),
    ("magnitude at initialisation", "magnitude", {"cut": 0.0}),
    ("random", "random", {"cut": 0.0}),
    ("random, Erdős–Rényi shares", "random", {"cut": 0.0, "allocation": "erk"}),
    ("magnitude after half of the steps", "magnitude", {"recovery_lr": 0.3}),
)
PUBLISHED = (  # error %, sparsity %, of LeNet-300-100 (SNIP, Table 1)
    ("SNIP", "95.0", "1.6"),
    ("SNIP", "98.0", "2.4"),
    ("dense", "0", "1.7"),
    ("LWC", "91.7", "1.6"),
    ("OBD", "92.0", "2.0"),
    ("SWS", "95.6", "1.9"),
    ("DNS", "98.2", "2.0"),
    ("L-OBS", "98.5", "2.0"),
    ("SVD", "98.5", "1.9"),
    ("LC", "99.0", "3.2"),
)
AIMS = {0.95: 1.7, 0.98: 2.5}  # error %


def reproduce_snip(asked: Asked) -> Page:
    """Run everything (or what is missing in the cache) and lay the errors beside the printed ones.

    Args:
        asked: data is ``mnist:DIR`` (or digits, for a look); quick is two epochs on 4,000 images, one seed;
            ``printed_seeds`` are those of what is not SNIP.
    """
    quick = asked.quick
    count = asked.seeds or (1 if quick else 5)
    others = asked.printed_seeds or count
    common = {
        "data": asked.data,
        "model": MODEL,
        "epochs": 2 if quick else 60,
        "limit": 4000 if quick else None,
        "batch_size": 100,
    }

    def over_seeds(kind: str, settings: dict[str, Any], n: int) -> list[Result]:
        return asked.over_seeds(KINDS, kind, [{**common, **settings}], n)[0]

    dense = over_seeds("dense", {"options": TRAINING}, others)
    found = {
        (label, sparsity): over_seeds(
            "method",
            {
                "name": name,
                "granularity": "weight",
                "budget": {"groups": round(1 - sparsity, 4)},
                "options": {**TRAINING, **options},
            },
            count if label == "SNIP" else others,
        )
        for sparsity in SPARSITIES
        for label, name, options in ROWS
    }
    sections = [_ours(dense, found, quick), _published()]
    sizes = dataset(asked.data, 0, common["limit"]).sizes
    protocol = (
        f"{common['epochs']} epochs of batch 100, momentum SGD from 0.3 along a cosine, gradients clipped to norm 1, "
        "weight decay 5e-4; "
        f"{sizes['train']:,} training images after a validation split of {sizes['validation']:,}; error on "
        f"{sizes['test']:,} test images, ± is the standard deviation over seeds 0, 1, …"
    )
    return Page("snip", "SNIP: pruning before training", protocol, sections[:1] if quick else sections, quick=quick)


def _ours(dense: Sequence[Result], found: dict[tuple[str, float], list[Result]], quick: bool) -> Section:
    """One row a method, one column a sparsity."""
    rows = [["dense", *[_error(dense)] * len(SPARSITIES), str(len(dense)), ""]]
    for label, _, _ in ROWS:
        cells = [found[label, sparsity] for sparsity in SPARSITIES]
        rows.append([label, *(_error(c) for c in cells), str(len(cells[0])), _verdict(label, cells)])
    columns = ["cut", *(f"error % at {100 * s:.0f}% sparsity" for s in SPARSITIES), "seeds", "aim"]
    note = (
        "Sparsity is the removed share of the 266,200 weights; biases stay. All rows have equal steps; the last is "
        "trained densely for half of them and then cut once."
    )
    section = Section("LeNet-300-100", columns, rows, note)
    return section.without("aim") if quick else section


def _error(results: Sequence[Result]) -> str:
    return spread([1 - r["removed"] for r in results])


def _verdict(label: str, cells: Sequence[Sequence[Result]]) -> str:
    if label != "SNIP":
        return ""
    said = []
    for sparsity, results in zip(SPARSITIES, cells):
        error = 100 * sum(1 - r["removed"] for r in results) / len(results)
        said.append(f"≤ {AIMS[sparsity]} {'reached' if error <= AIMS[sparsity] else 'missed'}")
    return ", ".join(said)


def _published() -> Section:
    rows = [[method, sparsity, error] for method, sparsity, error in PUBLISHED]
    note = "As printed in SNIP's Table 1, which collects the others from their papers; dense, trained for longer."
    return Section("Published, LeNet-300-100", ["method", "sparsity %", "error %"], rows, note)
