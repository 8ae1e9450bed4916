"""The statmech paper on MNIST and CIFAR-10: DIVNET's networks, pruned by node and by edge (section 5.2, Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .cells import Asked, Cell, Result
from .divnet_cuts import KINDS


@dataclass(frozen=True)
class Setting:
    """What is run on one data set.

    Attributes:
        source: of the data. name: in words. training: see :class:`secateurs.reproduce.divnet.Training`.
        table: nodes kept where node prunings are compared. nodes, edges: kept in Figure 3, of equal parameters (appendix F).
        draws: of everything that is drawn among nodes. limit: training examples.
    """

    source: str
    name: str
    training: Mapping[str, Any]
    table: tuple[int, ...]
    nodes: tuple[int, ...]
    edges: tuple[int, ...]
    draws: int = 3
    limit: int | None = None


MNIST = Setting(
    "mnist",
    "MNIST",
    {"model": "zoo:mlp-500-500-sigmoid", "batch_size": 1000, "error": 0.01},
    (50, 100, 150, 200, 250, 300),
    (256, 287, 317, 348, 378, 409, 439, 470),
    (156, 235, 313, 392, 470, 548, 627, 705),
)
CIFAR = Setting(
    "cifar10",
    "CIFAR-10",
    {"model": "zoo:mlp-1000x3-sigmoid", "batch_size": 128, "error": 0.5},
    (),
    (397, 472, 548, 623, 699, 774, 849, 925),
    (614, 921, 1228, 1536, 1843, 2150, 2457, 2764),
    draws=1,
)


def cells_of(setting: Setting, data: str, count: int, few: int, diverse: int) -> dict[str, list[Cell]]:
    """What is run, by kind: nodes at ``count`` seeds, edges at ``few``, edges drawn by a DPP at ``diverse``. A seed's
    cells come one after the other, as they are of the same network."""
    common = {"data": data, "training": dict(setting.training), "limit": setting.limit}
    kept = {
        "nodes": {"kept": sorted({*setting.table, *setting.nodes}), "draws": setting.draws},
        "edges": {"kept": list(setting.edges)},
        "diverse-edges": {"kept": list(setting.edges)},
    }
    counts = {"nodes": count, "edges": few, "diverse-edges": diverse}
    return {kind: [Cell(kind, {**common, **kept[kind]}, seed) for seed in range(n)] for kind, n in counts.items()}


def run(asked: Asked, cells: Mapping[str, list[Cell]]) -> dict[str, list[Result]]:
    """Their results, seed by seed: cells of one network in a row."""
    ordered = sorted((c for group in cells.values() for c in group), key=lambda c: c.seed)
    found = dict(zip((c.key for c in ordered), asked.results(KINDS, ordered)))
    return {kind: [found[c.key] for c in group] for kind, group in cells.items()}
