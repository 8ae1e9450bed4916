"""The end of a run: everything is measured together, then saved.

The test set is opened once (see :mod:`.examination`), and every network (dense, gated, cut, pruned) reads the same
batches. Latency is measured interleaved. The pruned network is the smaller one, loaded back from its artifact.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .. import artifact
from ..errors import MissingExtraError, SecateursError
from ..measure import Energy, PeakMemory, compare_latency, count_bytes, count_macs, count_params
from ..records import Measured, Record, TrainBlock, TrainSeconds
from ..training import Trainer, evaluate
from .drawing import draw
from .examination import ARTIFACT, examine
from .latency import not_faster
from .pruning import Pruning

if TYPE_CHECKING:
    from .run import Stage

ONNX, REPORT = "model.onnx", "report.html"
PACKAGES = ("secateurs", "torch", "numpy", "accelerate", "safetensors", "onnxruntime")


def finish(
    stage: Stage, trainer: Trainer, run: Pruning, trained: PeakMemory, used: Energy, *, reference_seconds: float
) -> Record:
    """Measure, save, and write the record of a trained run."""
    networks = {"gated": stage.restored("gated"), "cut": stage.restored("cut"), "pruned": trainer.model.cpu()}
    if stage.config.reference != "none":
        networks = {"dense": stage.restored("dense"), **networks}
    notes: list[str] = []
    folder = _save_artifact(stage, run, networks["pruned"])
    networks["pruned"] = artifact.load(folder)
    measured = _measure(stage, networks)
    files = {"artifact": ARTIFACT, "report": REPORT}
    if stage.after.onnx:
        _export(stage, networks["pruned"], files, notes)
    _latency_note(stage, measured, networks["pruned"], notes)
    _course_notes(trainer, run, networks["pruned"], notes)
    record = Record(
        method=stage.config.method,
        model=stage.config.model,
        data=stage.config.data,
        budget=stage.config.budget.given,
        targets=run.targets,
        dense=measured.get("dense") or _counted(stage, stage.build()),
        gated=measured["gated"],
        cut=measured["cut"],
        pruned=measured["pruned"],
        validation=_validation(stage, run, trainer, networks["pruned"]),
        peak_memory=trained.bytes,
        peak_device_memory=trained.device_bytes,
        joules=used.joules,
        groups_total=run.count,
        groups_kept=sum(row.kept for row in run.layer_rows()),
        layers=run.layer_rows(),
        certificate=run.certificate(),
        train=_train_block(stage, trainer, run, reference_seconds),
        history=run.history,
        recovery=run.repair.rows,
        players=run.players_block(),
        network=draw(run.original, run.outcome["kept"] if run.outcome else None),
        config=stage.config.model_dump(mode="json"),
        config_hash=stage.config.hash,
        seed=stage.config.seed,
        versions=versions(),
        device=str(trainer.device),
        threads=torch.get_num_threads(),
        data_hash=stage.data.hash,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        files=files,
        notes=notes,
    )
    if stage.after.test:
        examine(record, stage.data, networks, stage.out)
    record.write(stage.out)
    return record


def _validation(stage: Stage, run: Pruning, trainer: Trainer, pruned: nn.Module) -> float:
    """Accuracy on validation data at the end, as the last epoch found it where it was the end."""
    last = run.history[-1] if run.history else None
    if last is not None and last.accuracy is not None and last.step == trainer.total_steps:
        return last.accuracy
    return evaluate(pruned, stage.data.validation).accuracy


def versions() -> dict[str, str]:
    """Versions of what decides a run's outcome."""
    out = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out


def _counted(stage: Stage, model: nn.Module) -> Measured:
    return Measured(
        params=count_params(model),
        macs=count_macs(model, stage.data.example_inputs(1)),
        bytes=count_bytes(model),
    )


def _measure(stage: Stage, networks: Mapping[str, nn.Module]) -> dict[str, Measured]:
    """Size; latency of one example, interleaved."""
    out = {name: _counted(stage, network) for name, network in networks.items()}
    if stage.after.latency:
        times = compare_latency(networks, stage.data.example_inputs(1))
        for name, counted in out.items():
            counted.latency_ms = times[name].median_ms
            counted.latency_spread_ms = (times[name].q25_ms, times[name].q75_ms)
    if "dense" in out:
        out["dense"].file_bytes = (stage.out / "dense.safetensors").stat().st_size
    out["pruned"].file_bytes = sum(f.stat().st_size for f in (stage.out / ARTIFACT).glob("*.safetensors"))
    return out


def _save_artifact(stage: Stage, run: Pruning, model: nn.Module) -> Path:
    return artifact.save(
        model,
        stage.out / ARTIFACT,
        factory=stage.config.model,
        factory_kwargs={"classes": stage.data.classes, "input_shape": list(stage.data.input_shape)},
        surgery=run.surgery,
        example_inputs=stage.data.example_inputs(2),
        metadata={"config_hash": stage.config.hash, "method": stage.config.method},
    )


def _export(stage: Stage, model: nn.Module, files: dict[str, str], notes: list[str]) -> None:
    """ONNX beside the artifact; a model or an installation that cannot export is a note, not a lost run."""
    try:
        artifact.export_onnx(model, stage.data.example_inputs(2), stage.out / ONNX)
        files["onnx"] = ONNX
    except MissingExtraError as error:
        notes.append(f"no ONNX file: {error}")
    except SecateursError as error:
        notes.append(f"no ONNX file: {error}")


def _latency_note(stage: Stage, measured: Mapping[str, Measured], pruned: nn.Module, notes: list[str]) -> None:
    limit, taken = stage.config.budget.latency, measured["pruned"].latency_ms
    if limit is not None and taken is not None and taken > limit:
        notes.append(f"latency {taken:.3g} ms in the final measurement, above the budget of {limit:g} ms")
    dense = measured.get("dense")
    if dense and dense.latency_ms and taken:
        slow = not_faster(dense.latency_ms, taken, pruned, stage.data.example_inputs(1))
        notes += [slow] if slow else []


def _course_notes(trainer: Trainer, run: Pruning, pruned: nn.Module, notes: list[str]) -> None:
    """What its reader should know of the network's shape and of the run's end."""
    if run.players.granularity == "weight":
        held = sum(int(p.count_nonzero()) for p in pruned.parameters())
        notes.append(
            f"single weights were removed, so the network keeps its shape: {held:,} of its "
            f"{count_params(pruned):,} parameters are not zero"
        )
    if trainer.ended:
        notes.append(
            f"validation had recovered right after the cut ({100 * run.repair.accuracy:.2f}%), so the last "
            f"{run.total - run.stop} of {run.total} steps were left out"
        )


def _train_block(stage: Stage, trainer: Trainer, run: Pruning, reference_seconds: float) -> TrainBlock:
    seconds: dict[str, Any] = trainer.seconds
    game = run.game_seconds()
    before = sum(seconds.get(name, 0.0) for name in run.spans() if name != "recovery")
    return TrainBlock(
        seconds=TrainSeconds(
            dense_equivalent=max(0.0, before - game),
            game=game,
            recovery=seconds.get("recovery", 0.0),
            reference=reference_seconds,
        ),
        steps={
            **{name: stop - start for name, (start, stop) in run.spans().items()},
            "total": trainer.total_steps,
        },
        batch_size=stage.config.batch_size,
        examples=stage.data.sizes,
    )
