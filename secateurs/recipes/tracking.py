"""A run told to experiment trackers while it goes on: TensorBoard, MLflow, Weights & Biases, by Accelerate's classes.

What is told is what the record keeps: points of the history, and the figures at the end. Trackers see a run, and change
nothing in it: one that fails is left out from there on, with a warning.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..errors import require, unknown
from ..records import HistoryPoint, Record
from ..spec import RunConfig
from ..storage import write_json

NAMES = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
FOLDER, KEPT = "tracking", "tracking.json"
_AMOUNTS = ("accuracy", "params", "macs", "bytes", "latency_ms", "calibration_error", "membership_auc")


@dataclass(frozen=True)
class Tracking:
    """Which trackers hear of runs.

    Attributes:
        names: ``tensorboard``, ``mlflow``, ``wandb``. folder: where they write what they keep on this machine.
        group: what runs of one comparison have in common.
    """

    names: tuple[str, ...] = ()
    folder: Path = Path(FOLDER)
    group: str = "secateurs"

    def require(self) -> None:
        """Raises: UnknownNameError, or MissingExtraError where a tracker is not installed."""
        for name in self.names:
            if name not in NAMES:
                raise unknown("tracker", name, NAMES)
            require(NAMES[name], "track")


class Told:
    """The trackers of one run. They are opened when there is something to tell, and by one process.

    Args:
        out: the run's folder, which keeps how a resumed run finds its place again.
    """

    def __init__(self, tracking: Tracking, config: RunConfig, out: Path) -> None:
        self.tracking, self.config, self.out = tracking, config, out
        self._open: dict[str, Any] | None = None
        self._step = 0

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        self._each(lambda tracker: tracker.finish())
        self._open = None

    def point(self, point: HistoryPoint) -> None:
        """A moment of the run."""
        self._step = point.step
        self._log(point_values(point), point.step)

    def end(self, record: Record) -> None:
        """How it ended."""
        self._log(end_values(record), record.train.steps.get("total") or self._step)

    def _log(self, values: dict[str, float], step: int) -> None:
        if self._open is None and self.tracking.names:
            self._open = {}
            for name in self.tracking.names:
                self._safely(name, partial(self._start, name))
        self._each(lambda tracker: tracker.log(values, step=step))

    def _each(self, call: Callable[[Any], None]) -> None:
        for name, tracker in list((self._open or {}).items()):
            self._safely(name, partial(call, tracker))

    def _safely(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            with contextlib.suppress(Exception):  # lest it stand in the next run's way
                (self._open or {}).pop(name).finish()
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            warnings.warn(f"tracker {name} failed and hears no more of this run: {said}", stacklevel=2)

    def _start(self, name: str) -> None:
        kept = self.out / KEPT
        before: dict[str, str] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
        self.tracking.folder.mkdir(parents=True, exist_ok=True)
        tracker, found = _OPENERS[name](self, before.get(name))
        if name not in before:
            tracker.store_init_configuration(settings(self.config))
            write_json(kept, {**before, name: found})
        assert self._open is not None
        self._open[name] = tracker


def _tensorboard(told: Told, before: str | None) -> tuple[Any, str]:
    from accelerate.tracking import TensorBoardTracker

    name = before or title(told.config)
    tracker = TensorBoardTracker(name, logging_dir=told.tracking.folder)
    tracker.start()
    return tracker, name


def _mlflow(told: Told, before: str | None) -> tuple[Any, str]:
    import mlflow
    from accelerate.tracking import MLflowTracker

    folder = told.tracking.folder.resolve()
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    given: dict[str, Any] = {"run_id": before} if before else {"run_name": title(told.config)}
    given["nested_run"] = mlflow.active_run() is not None  # the caller's own
    tracker = MLflowTracker(told.tracking.group, logging_dir=(folder / "mlflow").as_uri(), **given)
    with FileLock(folder / "mlflow.lock"):  # the first of several processes makes its tables
        tracker.start()
    return tracker, tracker.tracker.info.run_id


def _wandb(told: Told, before: str | None) -> tuple[Any, str]:
    import wandb
    from accelerate.tracking import WandBTracker

    given: dict[str, Any] = {"id": before or uuid.uuid4().hex[:8], "resume": "allow", "name": title(told.config)}
    given |= {"dir": str(told.tracking.folder), "group": told.tracking.group, "reinit": True}
    if not os.environ.get("WANDB_MODE") and not wandb.login(prompt=False):
        warnings.warn(
            "Weights & Biases knows no login here, so the run is kept offline; `wandb sync` uploads it", stacklevel=2
        )
        given["mode"] = "offline"
    given["settings"] = wandb.Settings(silent=True)
    tracker = WandBTracker(os.environ.get("WANDB_PROJECT", "secateurs"), **given)
    tracker.start()
    return tracker, given["id"]


_OPENERS: dict[str, Callable[[Told, str | None], tuple[Any, str]]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}


def title(config: RunConfig) -> str:
    """What trackers call a run; a folder may have that name."""
    return f"{config.method}-{str(config.budget).replace(',', '+')}-seed{config.seed}-{config.hash[:6]}"


def settings(config: RunConfig) -> dict[str, Any]:
    """The configuration as trackers take it: flat, plain values."""
    given = config.model_dump(mode="json", exclude={"options", "budget"})
    flat = {**given, "budget": str(config.budget), "hash": config.hash}
    options = {k: v if isinstance(v, (bool, int, float, str)) else json.dumps(v) for k, v in config.options.items()}
    return flat | options


def point_values(point: HistoryPoint) -> dict[str, float]:
    """A moment of the history as names and numbers."""
    plain = {"loss", "sparsity", "mean_participation", "active", "lr", "epoch"}
    out = {name: float(v) for name in sorted(plain) if (v := getattr(point, name)) is not None}
    if point.accuracy is not None:
        out["validation/accuracy"] = point.accuracy
    for what in ("price", "demand", "path"):
        out |= {f"{what}/{resource}": value for resource, value in getattr(point, what).items()}
    return out


def end_values(record: Record) -> dict[str, float]:
    """The figures of the networks before and after."""
    out = {
        f"{side}/{name}": float(value)
        for side in ("dense", "pruned")
        for name in _AMOUNTS
        if (value := getattr(getattr(record, side), name)) is not None
    }
    return out if record.validation is None else {**out, "pruned/validation": record.validation}


def tell(tracking: Tracking, out: Path) -> None:
    """The figures of a run that has ended, once more: they may have grown."""
    if tracking.names:
        config = RunConfig.model_validate_json((out / "config.json").read_text(encoding="utf-8"))
        with Told(tracking, config, out) as told:
            told.end(Record.read(out))


def read_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))
