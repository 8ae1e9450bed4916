"""The statmech paper on MNIST and CIFAR-10: DIVNET's networks, pruned by node and by edge (section 5.2, Figure 3).

One cut of the first layer, without retraining, with and without reweighting. The networks are the paper's, trained to
its thresholds by another optimizer, as its SGD at 0.001 takes thousands of epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .cells import Asked, Cell, Result
from .concave import sources
from .divnet_claims import claims
from .divnet_cuts import KINDS
from .divnet_tables import Found, Setting, figure3, kernels, networks, plain_nodes, reweighted_nodes
from .page import Section

MNIST = Setting(
    "mnist",
    "MNIST",
    784,
    {"model": "zoo:mlp-500-500-sigmoid", "batch_size": 1000, "error": 0.01},
    (50, 100, 150, 200, 250, 300),
    (256, 287, 317, 348, 378, 409, 439, 470),
    (156, 235, 313, 392, 470, 548, 627, 705),
)
CIFAR = Setting(
    "cifar10",
    "CIFAR-10",
    3072,
    {"model": "zoo:mlp-1000x3-sigmoid", "batch_size": 128, "error": 0.5},
    (),
    (397, 472, 548, 623, 699, 774, 849, 925),
    (614, 921, 1228, 1536, 1843, 2150, 2457, 2764),
    draws=1,
)
SETTINGS = {s.source: s for s in (MNIST, CIFAR)}
FEW = 3  # networks on which edges of CIFAR-10 are cut: a least-squares problem for each of 1,000 nodes and each size
DIVERSE = 2  # networks of MNIST on which edges are drawn by a DPP: an eigendecomposition for each of 500 nodes


def sections(asked: Asked) -> list[Section]:
    """Run everything that there is data for (or what is missing in the cache).

    Args:
        asked: data are ``mnist:DIR``, ``cifar10:DIR`` or both, with a comma between, or ``digits`` for a look;
            ``seeds`` are networks, 10 where nothing is said; ``printed_seeds`` those whose edges are cut where that
            takes long, 3 on CIFAR-10 and, drawn by a DPP, 2 on MNIST; quick is one network on a few images, at
            one size.
    Raises:
        DataError: data of another name.
    """
    found = []
    for source, data in sorted(sources(asked.data).items(), reverse=True):
        setting = _quick(SETTINGS[source], data) if asked.quick or data == "digits" else SETTINGS[source]
        found.append(Found(setting, _run(asked, setting, data)))
    parts = [networks(found, _note(found))]
    for one in found:
        if one.setting.table:
            parts += [reweighted_nodes(one), plain_nodes(one), kernels(one)]
        parts += figure3(one, "A" if one.setting.source == "mnist" else "B")
    if asked.quick:  # nothing to hold against the paper
        return [part.without("the logged accuracy", "DPP against importance") for part in parts]
    return [*parts, claims(found)]


def cells_of(setting: Setting, data: str, counts: Mapping[str, int]) -> dict[str, list[Cell]]:
    """What is run, by kind, each at so many seeds."""
    common: dict[str, Any] = {"data": data, "training": dict(setting.training), "limit": setting.limit}
    kept: dict[str, dict[str, Any]] = {
        "nodes": {
            "kept": sorted({*setting.table, *setting.nodes}),
            "variants": list(setting.table),
            "draws": setting.draws,
        },
        "edges": {"kept": list(setting.edges)},
        "diverse-edges": {"kept": list(setting.edges)},
    }
    return {kind: [Cell(kind, {**common, **kept[kind]}, seed) for seed in range(n)] for kind, n in counts.items()}


def _run(asked: Asked, setting: Setting, data: str) -> dict[str, list[Result]]:
    """The cells' results, by kind and seed."""
    count = asked.seeds or (1 if asked.quick else 10)
    few, diverse = (min(count, asked.printed_seeds or n) for n in (FEW, DIVERSE))
    mnist = setting.source == "mnist"
    if asked.quick and data != "digits":
        diverse = 0  # even of one network they take minutes
    cells = cells_of(setting, data, {
        "nodes": count, "edges": count if mnist else few, "diverse-edges": diverse if mnist else 0,
    })  # fmt: skip
    # Seed by seed: what a cell has trained is at hand for the next one.
    ordered = sorted((c for group in cells.values() for c in group), key=lambda c: c.seed)
    results = {c.key: r for c, r in zip(ordered, asked.results(KINDS, ordered))}
    return {kind: [results[c.key] for c in group] for kind, group in cells.items()}


def _quick(setting: Setting, data: str) -> Setting:
    """One size, of a smaller network that is trained for two epochs on a few images."""
    training = {**setting.training, "model": "zoo:mlp-digits", "batch_size": 100, "epochs": 2}
    small = replace(setting, training=training, table=setting.table and (50,), nodes=(100,), draws=2, limit=2000)
    if data == "digits":
        return replace(small, features=64, edges=(20,), limit=None)
    return replace(small, edges=setting.edges[-1:])


def _note(found: list[Found]) -> str:
    batches = ", ".join(f"{f.setting.training['batch_size']} on {f.setting.name}" for f in found)
    note = (
        "Sigmoid units, uniform Glorot weights, biases of zero, inputs normalised as in the authors' code, all "
        "training images. Adam at 0.001 instead of the paper's SGD at 0.001 with momentum 0.9, which is slow: at a "
        f"hundred times that rate it took over twenty epochs on MNIST. Batches as in the paper ({batches}). Nothing is "
        "chosen by the test set; ± is the standard deviation over networks, of which each has initial weights and an "
        "order of the images of its own."
    )
    if any(f.setting.source == "cifar10" for f in found):
        note += " CIFAR-10's images were given as JPEG copies, which are slightly lossy."
    return note


__all__ = ["CIFAR", "MNIST", "cells_of", "sections"]
