"""The main job: a configuration in, a run folder with the smaller network out.

Stages, each skipped when its result is already there: the dense reference, the pruning run, and the finish
(the test set is read once, by all networks together; latency; artifact; ONNX; record; report).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from ..errors import RunError, RunInterrupted
from ..measure import Energy, PeakMemory
from ..partition import Players, players
from ..records import Record
from ..spec import RunConfig
from ..storage import load_tree, save_tree, write_json
from ..training import Loss, Trainer, cross_entropy, decided, fitting, make_accelerator
from ..zoo import Data, build_model, check_fit, load_data
from .examination import read_test, restored
from .finish import finish
from .folder import give_back, open_folder
from .latency import Clock, Measured, file_of, price
from .options import TrainOptions, read_options
from .pruning import Pruning
from .registry import find_method
from .tracking import Told, Tracking

DENSE = "dense.safetensors"


@dataclass(frozen=True)
class After:
    """What is done once a run is trained. The record has the rest as it would have it anyway.

    Attributes:
        test: read the test set; without, :func:`secateurs.recipes.read_test` does so later. onnx: export to ONNX.
        latency: measure latency.
    """

    test: bool = True
    onnx: bool = True
    latency: bool = True


@dataclass
class Stage:
    """What the stages of a run share."""

    config: RunConfig
    out: Path
    data: Data
    options: TrainOptions
    resume: bool
    progress: bool
    after: After
    told: Told

    def build(self) -> nn.Module:
        """A fresh model from the factory."""
        c = self.config
        return build_model(c.model, classes=self.data.classes, input_shape=self.data.input_shape, seed=c.seed)

    def restored(self, label: str) -> nn.Module:
        """The network a snapshot holds."""
        return restored(self.out, self.config, self.data, label)

    def trainer(self, model: nn.Module, folder: Path, label: str, **settings: Any) -> Trainer:
        """A trainer with the run's settings, at its last checkpoint when resuming."""
        c = self.config
        return Trainer(
            model,
            self.data,
            batch_size=c.batch_size,
            seed=c.seed,
            epochs=c.epochs,
            out=folder,
            clip=self.options.clip,
            mixed_precision=c.mixed_precision,
            progress=self.progress,
            label=label,
            **settings,
        )


def prune(
    config: RunConfig,
    out: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    after: After | None = None,
    track: Tracking | Sequence[str] | str = (),
) -> Record:
    """Run a configuration.

    Args:
        out: the run's folder: ``record.json``, ``artifact/``, ``model.onnx``, ``report.html``.
        resume: continue a run that was interrupted there; the record will be that of an uninterrupted one.
        force: replace whatever run is there.
        after: what is done once it is trained; by default all.
        track: trackers that hear of it, ``("tensorboard", "mlflow", "wandb")``; none by default.
    Raises:
        SecateursError: anything that is wrong with the input, said before training where it can be known.
    """
    out, after, tracking = Path(out), after or After(), Tracking.of(track)
    tracking.require()
    accelerator = make_accelerator(config.mixed_precision)
    options, data, model, found = ready(config)
    total = steps_in_all(config, data, accelerator.num_processes)
    measured = priced(config, found, data, out if resume else None, accelerator)
    # An unreachable budget raises before anything is written.
    run = find_method(config.method).run(found, config.budget, options, total)
    run.repair.require(data)
    if decided(lambda: open_folder(out, config, resume=resume, force=force), accelerator):
        return read_test(out) if after.test else Record.read(out)
    try:
        with Told(tracking if accelerator.is_main_process else Tracking(), config, out) as told:
            stage = Stage(config, out, data, options, resume, progress, after, told)
            return _carry_out(stage, model, run, measured)
    except KeyboardInterrupt:
        raise RunInterrupted(
            f"stopped between two trainings; {str(out)!r} keeps what was done. "
            "Continue with the same command and --resume"
        ) from None
    except Exception:
        if accelerator.is_main_process:
            give_back(out, config)
        raise


def ready(config: RunConfig) -> tuple[TrainOptions, Data, nn.Module, Players]:
    """What a run begins with: its options, its data, its model, and the players found on it.

    Raises:
        SecateursError: one of them is wrong, or they do not fit each other.
    """
    method = find_method(config.method)
    options = read_options(method.options, method.name, config.options)
    if options.distill > 0 and config.reference == "none":
        raise RunError(
            f"distill={options.distill:g} learns from the dense reference, and reference 'none' leaves that out; use "
            "reference 'train' or 'given', or no distill"
        )
    data = load_data(config.data, validation=config.validation, seed=config.seed)
    model = build_model(config.model, classes=data.classes, input_shape=data.input_shape, seed=config.seed)
    inputs = data.example_inputs(2)
    check_fit(model, inputs, data.classes, lowest=data.lowest)
    found = players(model, inputs, config.granularity.split("+"), ignore=options.ignore)
    return options, data, model, options.restrain(found, config.budget)


def _carry_out(stage: Stage, model: nn.Module, run: Pruning, measured: Measured | None) -> Record:
    config, out = stage.config, stage.out
    if measured is not None and make_accelerator(config.mixed_precision).is_main_process:
        write_json(file_of(out), measured)
    seconds = reference(stage)
    run.folder, run.seed, run.given = out, config.seed, config.reference == "given"
    stage.told.open()  # before time and memory are counted
    run.listener = stage.told.moment
    with PeakMemory() as trained, Energy() as used:  # of a resumed run, what it took since then
        trainer = pruned(stage, model, run, measured)
    if not trainer.is_main:
        return Record(method=config.method, model=config.model, data=config.data, budget=config.budget.given)
    record = finish(stage, trainer, run, trained, used, reference_seconds=seconds)
    (out / "checkpoint.safetensors").unlink(missing_ok=True)
    stage.told.end(record)
    return record


def steps_in_all(config: RunConfig, data: Data, processes: int) -> int:
    """Optimizer steps of the run.

    Raises:
        RunError: fewer than two: one is needed before the cut and one after.
    """
    batch = fitting(config.batch_size, len(data.train), processes)
    total = config.epochs * (len(data.train) // batch)
    if total < 2:
        raise RunError(
            f"{config.epochs} epoch(s) of {len(data.train)} training examples in batches of {config.batch_size} are "
            "a single step, and pruning needs one before the cut and one after; use more epochs or a smaller batch"
        )
    return total


def priced(
    config: RunConfig, found: Players, data: Data, before: Path | None, accelerator: Accelerator
) -> Measured | None:
    """Where the budget names a latency, make it a resource: measured here, by one process, or by the interrupted run in
    ``before``. Returns the measurements."""
    limit = config.budget.latency
    if limit is None:
        return None
    inputs = data.example_inputs(1)
    known: Measured | None = None
    if before is not None and file_of(before).exists():
        known = json.loads(file_of(before).read_text(encoding="utf-8"))
    if known is None:
        known = decided(lambda: price(found, limit, inputs), accelerator)
    if "latency" not in found.structure.terms:
        price(found, limit, inputs, known)
    return known


def reference(stage: Stage) -> float:
    """Train the dense network for the same steps, unless it is there. Returns wall seconds of its training."""
    if stage.config.reference != "train":
        if stage.config.reference == "given":
            _save_dense(stage.out / DENSE, stage.build(), 0.0)
        return 0.0
    path = stage.out / DENSE
    if path.exists():
        return float(load_tree(path)["seconds"])
    model = stage.build()
    folder = stage.out / "reference"
    trainer = stage.trainer(
        model, folder, "dense reference", optimizer=stage.options.make(model), loss=smoothed(stage.options)
    )
    trainer.lr = stage.options.dense_rate(trainer.total_steps)
    continue_(trainer, stage.resume)
    trainer.run()
    seconds = trainer.seconds.get("dense reference", 0.0)
    if trainer.is_main:
        _save_dense(path, model, seconds)
        for part in folder.iterdir():
            part.unlink()
        folder.rmdir()
    trainer.accelerator.wait_for_everyone()
    return seconds


def _save_dense(path: Path, model: nn.Module, seconds: float) -> None:
    # The seconds as a tensor: written out, their digits would change the size of the file, which is in the record.
    taken = torch.tensor(seconds, dtype=torch.float64)
    save_tree(path, {"surgery": None, "weights": model.state_dict(), "seconds": taken})


def pruned(stage: Stage, model: nn.Module, run: Pruning, measured: Measured | None) -> Trainer:
    """The pruning run itself."""
    trainer = stage.trainer(
        model, stage.out, stage.config.method, optimizer=run.optimizer, callbacks=[run], loss=smoothed(stage.options)
    )
    trainer.lr = run.rate
    if stage.options.distill > 0 and stage.config.reference != "none":
        run.teacher = stage.restored("dense").to(trainer.device)
    if stage.config.budget.latency is not None and measured is not None:
        dense = stage.build().to(trainer.device)
        run.latency = Clock(stage.config.budget.latency, stage.data.example_inputs(1), dense, measured["whole_ms"][0])
    continue_(trainer, stage.resume)
    trainer.run()
    return trainer


def smoothed(options: TrainOptions) -> Loss:
    """The loss before recovery."""
    return cross_entropy(options.label_smoothing)


def continue_(trainer: Trainer, resume: bool) -> None:
    """Load the checkpoint when resuming and there is one."""
    if resume and trainer.checkpoint is not None and trainer.checkpoint.exists:
        trainer.load_checkpoint()
