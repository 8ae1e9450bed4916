"""What can be done with a finished run, and with a model before one: bench, export, inspect."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import artifact
from ..errors import DataError, RunError
from ..measure import Comparison, compare_latency, compare_onnx
from ..partition import players
from ..records import Record
from ..spec import RunConfig
from ..storage import load_tree
from ..zoo import build_model, load_data
from .drawing import draw
from .finish import ARTIFACT
from .latency import not_faster


def _networks(run: Path, trust_changed_factory: bool) -> tuple[Record, dict[str, nn.Module], tuple[int, ...]]:
    """The dense and the pruned network of a run, and the shape of an input."""
    record = Record.read(run)
    config = RunConfig.model_validate(record.config)
    pruned = artifact.load(run / ARTIFACT, trust_changed_factory=trust_changed_factory)
    entry = artifact.read_manifest(run / ARTIFACT).factory
    assert entry is not None  # `prune` always saves with a factory
    classes, shape = entry.kwargs.classes, tuple(entry.kwargs.input_shape)
    dense = build_model(config.model, classes=classes, input_shape=shape, seed=config.seed)
    weights = run / "dense.safetensors"
    if weights.exists():
        dense.load_state_dict(load_tree(weights)["weights"])
    return record, {"dense": dense.eval(), "pruned": pruned}, shape


def bench_run(
    run: str | Path, *, threads: int = 1, batch: int = 1, onnx: bool = False, trust_changed_factory: bool = False
) -> dict[str, Any]:
    """Time dense against pruned, interleaved pairs, on random inputs of the run's shape.

    Args:
        trust_changed_factory: run the model's file although it has changed since the run.
    Returns:
        a dict with ``dense``, ``pruned`` (median_ms, q25_ms, q75_ms), ``speedup`` with quartiles, threads, batch,
        engine, and a ``note`` on the layers that cost the time, in PyTorch, if the pruned network is not faster.
    """
    record, networks, shape = _networks(Path(run), trust_changed_factory)
    inputs = (torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0)),)
    if onnx:
        found = _bench_onnx(networks, inputs, threads)
    else:
        found = compare_latency(networks, inputs, threads=threads)
    ratio = found.speedup["pruned"]
    rows = {
        name: {k: getattr(found[name], k) for k in ("median_ms", "q25_ms", "q75_ms")} for name in ("dense", "pruned")
    }
    macs = (record.dense.macs or 0) / max(record.pruned.macs or 1, 1)
    return {
        **rows,
        "speedup": ratio.median,
        "speedup_quartiles": [ratio.q25, ratio.q75],
        "macs_ratio": macs,
        "threads": threads,
        "batch": batch,
        "repeats": found["dense"].repeats,
        "engine": "ONNX Runtime" if onnx else "PyTorch",
        "note": None
        if onnx
        else not_faster(found["dense"].median_ms, found["pruned"].median_ms, networks["pruned"], inputs, threads),
    }


def _bench_onnx(networks: dict[str, nn.Module], inputs: tuple[torch.Tensor, ...], threads: int) -> Comparison:
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name, network in networks.items():
            paths[name] = Path(folder) / f"{name}.onnx"
            artifact.export_onnx(network, tuple(torch.cat([x, x]) for x in inputs), paths[name])
        return compare_onnx(paths, inputs, threads=threads)


def export_run(run: str | Path, path: str | Path, *, trust_changed_factory: bool = False) -> dict[str, Any]:
    """Export a run's pruned network to ONNX, verified.

    Args:
        trust_changed_factory: run the model's file although it has changed since the run.
    Returns:
        path, bytes, opset and the largest absolute difference from PyTorch.
    """
    if not (Path(run) / ARTIFACT).is_dir():
        raise RunError(f"{str(run)!r} holds no {ARTIFACT}/; a finished `secateurs prune --out DIR` leaves one there")
    _, networks, shape = _networks(Path(run), trust_changed_factory)
    inputs = (torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)),)
    check = artifact.export_onnx(networks["pruned"], inputs, path)
    return {
        "path": str(path),
        "bytes": check.bytes,
        "opset": check.opset,
        "max_abs_difference": check.max_abs_difference,
    }


def inspect_model(
    model: str,
    data: str,
    granularity: str = "channel",
    *,
    classes: int = 10,
    why: Sequence[str] = (),
    drawn: bool = False,
) -> dict[str, Any]:
    """What can be pruned in a model, what goes with it, what cannot and why.

    Args:
        data: a data set as for ``prune``, or a shape such as ``3x32x32``.
        why: modules, tensors or axes whose ties are to be explained, under ``why``.
        drawn: also give the network to be drawn, under ``network``.
    Raises:
        StructureError: ``why`` names what the model does not have.
    """
    if re.fullmatch(r"\d+(x\d+)*", data):
        shape = tuple(map(int, data.split("x")))
        inputs: tuple[torch.Tensor, ...] = (torch.zeros(2, *shape),)
    elif data:
        loaded = load_data(data)
        shape, classes, inputs = loaded.input_shape, loaded.classes, loaded.example_inputs(2)
    else:
        raise DataError("inspect needs --data: a data set, or the shape of one input such as 3x32x32")
    net = build_model(model, classes=classes, input_shape=shape)
    found = players(net, inputs, granularity.split("+"))
    answers = [found.structure.why(where) for where in why]
    least = found.minimum
    each = {r: found.resource(r).marginal(found.sizes).tolist() for r in ("params", "macs")}
    frozen = [
        {"where": f.where, "size": f.size, "reason": f.reason}
        for f in found.structure.frozen
        if (f.kind == "block") == (granularity == "block")
    ]
    network = draw(found) if drawn else None
    asked = {"why": [{**answer.as_dict(), "text": str(answer)} for answer in answers]} if why else {}
    return {
        "model": model,
        "granularity": granularity,
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "players": layer.size,
                "params_each": round(each["params"][i]),
                "macs_each": round(each["macs"][i]),
                "tied_to": list(layer.tied_to),
            }
            for i, layer in enumerate(found.layers)
        ],
        "frozen": frozen,
        "frozen_by_reason": _by_reason(frozen),
        "totals": {
            "groups": found.count,
            **{r: found.amount(r) for r in ("params", "macs")},
            **{f"least_{r}": found.resource(r).amount(least) for r in ("params", "macs")},
        },
        **asked,
        **({"network": network.model_dump(mode="json")} if network is not None else {}),
    }


def _by_reason(frozen: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Frozen places by what fixes them, wherever that happens; the reason that holds most places first."""
    found: dict[str, dict[str, Any]] = {}
    for row in frozen:
        reason = row["reason"].partition(" (in ")[0]
        held = found.setdefault(reason, {"reason": reason, "size": 0, "where": []})
        held["size"] += row["size"]
        held["where"].append(row["where"])
    return sorted(found.values(), key=lambda held: -len(held["where"]))
