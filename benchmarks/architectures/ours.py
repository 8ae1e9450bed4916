"""Secateurs on one model: trace, cut half of every family, and everything that must hold afterwards."""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import secateurs
from secateurs.errors import ArtifactError, StructureError
from secateurs.structure import Structure, mask, replay

from .judge import BLIND, Judged, compare, gap, outputs, randomise, trains
from .memory import Memory
from .models import TRACED_BATCH, Case
from .uses import used

Row = dict[str, Any]


def half(structure: Structure, seed: int = 0) -> torch.Tensor:
    """Keep ⌈n/2⌉ of each family, which ones by chance: a prefix would hide wrong indices."""
    generator = torch.Generator().manual_seed(seed)
    keep = torch.zeros(structure.atoms, dtype=torch.bool)
    for family in structure.families:
        count = max(math.ceil(len(family.atoms) / 2), family.minimum)
        chosen = torch.randperm(len(family.atoms), generator=generator)[:count]
        keep[torch.from_numpy(family.atoms)[chosen]] = True
    return keep


def measure(case: Case, say: Callable[[Row], None], uses: bool = False) -> None:
    """Run every stage; ``say`` hears what is known after each, so that a time limit loses only the rest.

    Args:
        uses: also copy, compile, export and trace the cut network.
    """
    row: Row = {"stage": "build"}

    def report(stage: str, **values: Any) -> None:
        row.update(values, stage=stage)
        say(row)

    torch.manual_seed(0)
    model = case.build()
    example = case.inputs(TRACED_BATCH, None)
    randomise(model, case.inputs(8, None))
    report("trace", params=secateurs.count_params(model))
    secateurs.trace(nn.Linear(2, 2), torch.ones(1, 2))  # imports and caches that a first trace fills
    memory, start = Memory(), time.perf_counter()
    structure = secateurs.trace(model, example)
    report("count", trace_s=time.perf_counter() - start, trace_mb=memory.grown(), **_frozen(model, structure))
    report("cut", macs=secateurs.count_macs(model, example))
    keep = half(structure)
    shrunk = secateurs.shrink(model, structure, keep, check=False)
    small = shrunk.model
    left = {"params_left": secateurs.count_params(small), "macs_left": secateurs.count_macs(small, example)}
    report("compare", **left, predicted=_predictions(structure, keep, row | left))
    verdict = compare(case, model, mask(copy.deepcopy(model), structure, keep), small)
    report("train", gap=verdict.gap, dtype=verdict.dtype, where=verdict.where, effect=verdict.effect)
    if not verdict.same:
        report("done", status="wrong", refused=_refused(model, structure, keep))
        return
    if refused := _refused(model, structure, keep):
        raise Judged(f"shrink refuses an exact cut: {refused}")
    row["blind"] = bool(structure.families) and verdict.effect < BLIND
    try:
        trains(case, small)
    except Exception as error:
        # What the dense network cannot do either is no fault of the cut.
        trains(case, model)
        raise Judged(f"the cut network does not train: {type(error).__name__}: {error}") from error
    report("state_dict")
    _state_dict(case, shrunk)
    report("save")
    report("uses", saved=_saved(small, example))
    report("done", uses=used(model, small, example) if uses else {}, status=_status(structure, row))


def _refused(model: nn.Module, structure: Structure, keep: torch.Tensor) -> str:
    """What `shrink` says to a cut that is wrong, where it is left its own check; empty if it saw nothing."""
    try:
        secateurs.shrink(model, structure, keep)
    except StructureError as error:
        return str(error)
    return ""


def _status(structure: Structure, row: Row) -> str:
    if not structure.families:
        return "nothing to prune"
    return "exact, partly frozen" if row["untouched"] else "exact"


def _frozen(model: nn.Module, structure: Structure) -> Row:
    """Reasons with the axes and indices they hold, and the share of weights no axis of which can be cut."""
    reasons: dict[str, list[Any]] = {}
    for frozen in structure.frozen:
        reasons.setdefault(frozen.reason, []).append([frozen.where, frozen.size])
    wide = {name: p.numel() for name, p in model.named_parameters() if p.dim() > 1}
    held = {name for name, _ in structure.axes}
    untouched = {name: size for name, size in wide.items() if name not in held}
    return {
        "families": len(structure.families),
        "heads": sum(family.kind == "head" for family in structure.families),
        "atoms": structure.atoms,
        "reasons": reasons,
        "untouched": sum(untouched.values()) / max(1, sum(wide.values())),
        "untouched_tensors": sorted(untouched, key=lambda name: -untouched[name]),
    }


def _predictions(structure: Structure, keep: torch.Tensor, row: Row) -> list[str]:
    """What the structure predicted otherwise than the count on the running networks says."""
    wrong = []
    for name, kept, key in (
        ("params", None, "params"),
        ("params", keep, "params_left"),
        ("macs", None, "macs"),
        ("macs", keep, "macs_left"),
    ):
        predicted, counted = structure.amount(name, kept), row[key]
        if abs(predicted - counted) > 0.5 + 1e-9 * counted:
            wrong.append(f"{key}: predicted {predicted:.0f}, counted {counted}")
    return wrong


def _state_dict(case: Case, shrunk: secateurs.structure.Shrunk) -> None:
    """Another instance, cut by the record and filled from the file, answers the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pt"
        torch.save(shrunk.model.state_dict(), path)
        torch.manual_seed(1)
        other = replay(case.build(), type(shrunk.surgery).model_validate_json(shrunk.surgery.model_dump_json()))
        other.load_state_dict(torch.load(path, weights_only=True))
    inputs = case.inputs(TRACED_BATCH, None)
    if gap(outputs(shrunk.model, inputs), outputs(other, inputs)):
        raise Judged("the network that a state_dict brings back differs")


def _saved(small: nn.Module, example: Any) -> str:
    """``yes``, or why there is no program of it; `save` itself compares what it would load."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            secateurs.save(small, Path(folder) / "network", factory=None, example_inputs=example)
            secateurs.load(Path(folder) / "network")
        except ArtifactError as error:
            return str(error).replace(folder, "…")
    return "yes"
