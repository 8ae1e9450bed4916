"""Chains of operators in words: from a place to what it is tied to, or to what fixes it.

An arrow points the way the data flows, so where two meet, that operator ties what comes from both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from .evidence import Graph, Spot
from .ledger import Operator
from .naming import CONVOLUTIONS, TRANSPOSED

SHARED = 3  # so many steps that an earlier line has are repeated
DOWN, UP, SAME = "→", "←", "="
SPELLED = {
    "native_batch_norm": "batch_norm", "_native_batch_norm_legit": "batch_norm", "cudnn_batch_norm": "batch_norm",
    "_native_batch_norm_legit_no_training": "batch_norm", "_batch_norm_no_update": "batch_norm",
    "native_layer_norm": "layer_norm", "native_group_norm": "group_norm", "_fused_rms_norm": "rms_norm",
    "_unsafe_view": "view", "constant_pad_nd": "pad", "_softmax": "softmax", "_log_softmax": "log_softmax",
    "max_pool2d_with_indices": "max_pool2d", "max_pool3d_with_indices": "max_pool3d",
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d", "_adaptive_avg_pool3d": "adaptive_avg_pool3d",
    "_prelu_kernel": "prelu", "_to_copy": "to", "addmm": "linear", "mm": "matmul", "bmm": "matmul", "baddbmm": "matmul",
    "_weight_norm_interface": "weight_norm",
}  # fmt: skip
LAYERS = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)


@dataclass(frozen=True)
class Step:
    """One step of a chain: an arrow, and the operator (with its module) or the place that it leads to."""

    arrow: str
    operator: str = ""
    module: str = ""
    place: str = ""

    def __str__(self) -> str:
        where = f" ({self.module})" if self.module else ""
        return f"{self.arrow} {self.place or self.operator + where}"


@dataclass(frozen=True)
class Chain:
    """From the place ``start`` to another place, or to the operator that fixes it."""

    start: str
    steps: tuple[Step, ...]

    @property
    def end(self) -> str:
        return self.steps[-1].place if self.steps else self.start

    def __str__(self) -> str:
        return " ".join([self.start, *map(str, self.steps)])

    def as_dict(self) -> dict[str, Any]:
        """The same as data: each step names an operator and its module, or a place."""
        steps = [{k: v for k, v in vars(step).items() if v} for step in self.steps]
        return {"from": self.start, "to": self.end, "steps": steps, "text": str(self)}


def in_words(graph: Graph, way: Sequence[Spot]) -> Chain:
    """A way in words, without operators that leave the axis alone."""
    e = graph.evidence
    shown: list[tuple[Step, bool]] = []
    current = -1
    for before, spot in pairwise(way):
        if spot.kind == "of":
            number = e.axis_of(spot.node)
            assert number is not None  # only nodes of tensors lie on one
            shown.append((Step(SAME if before.kind == "of" else UP, place=e.places[number]), False))
            current = -1
        elif spot.operator != current:
            current = spot.operator
            arrow = SAME if before.kind == spot.kind == "at" else DOWN if spot.kind == "at" else UP
            shown.append((step_to(arrow, e.operators[current]), graph.idle(spot)))
    # A peak or a valley stays: there the way turns.
    turns = [step.arrow != after.arrow for (step, _), (after, _) in pairwise(shown)]
    steps = tuple(step for (step, idle), turn in zip(shown, [*turns, True]) if turn or not idle)
    first = e.axis_of(way[0].node) if way else None
    return Chain(e.places[first] if first is not None else "", steps)


def step_to(arrow: str, operator: Operator) -> Step:
    return Step(arrow, spelled(operator), operator.path)


def spelled(operator: Operator) -> str:
    """An operator's name as people write it."""
    name, kind = operator.name.partition("::")[2] or operator.name, operator.module
    name = name[:-1] if name.endswith("_") and not name.endswith("__") else name
    layer = next((layer for layer in LAYERS if kind is not None and issubclass(kind, layer)), None)
    if layer is not None and name in ("convolution", "mm", "addmm"):
        return layer.__name__.lower().replace("transpose", "_transpose")
    return "scaled_dot_product_attention" if "scaled_dot_product" in name else SPELLED.get(name, name)


def lines(chains: Sequence[Chain]) -> Iterator[str]:
    """A line for each module at which chains end. Long beginnings that stood above are left out."""
    ending: dict[tuple[Any, ...], list[str]] = {}
    for chain in chains:
        module = chain.end.partition("[")[0].rpartition(".")[0]
        ending.setdefault((chain.start, chain.steps[:-1], chain.steps[-1].arrow, module), []).append(chain.end)
    shown: set[tuple[Step, ...]] = set()
    for (start, steps, arrow, module), places in ending.items():
        known = max((n for n in range(len(steps) + 1) if steps[:n] in shown), default=0)
        shown.update(steps[: n + 1] for n in range(len(steps)))
        if known > SHARED:
            words = ["…", str(steps[known - 1]).partition(" ")[2], *map(str, steps[known:])]
        else:
            words = [start, *map(str, steps)]
        yield "  " + " ".join([*words, arrow, _places(module, places)])


def _places(module: str, places: Sequence[str]) -> str:
    """Places of one module: ``bn1.{weight, bias}``."""
    if len(places) == 1:
        return places[0]
    dot = f"{module}." if module else ""
    return f"{dot}{{{', '.join(p.removeprefix(dot) for p in places)}}}"
