"""A run told to experiment trackers while it goes on: TensorBoard, MLflow, Weights & Biases, by Accelerate's classes.

What is told is what is known anyway: losses as they are read, points of the history, and the figures at the end.
Trackers see a run, and change nothing in it, its times included: one that fails is left out from there on, with a
warning.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import RunInterrupted, require, unknown
from ..records import HistoryPoint, Record
from ..spec import RunConfig
from ..storage import write_json
from .trackers import OPENERS, About, Opened, State

NAMES = tuple(OPENERS)
FOLDER, KEPT = "tracking", "tracking.json"
_MOMENTS = "moments"  # that were told, beside the trackers' keys
_AMOUNTS = ("accuracy", "params", "macs", "bytes", "latency_ms", "calibration_error", "membership_auc")


@dataclass(frozen=True)
class Tracking:
    """Which trackers hear of runs.

    Attributes:
        names: ``tensorboard``, ``mlflow``, ``wandb``. folder: where they write what they keep on this machine; None:
            ``tracking/`` in the run's own folder. group: what runs of one comparison have in common.
    """

    names: tuple[str, ...] = ()
    folder: Path | None = None
    group: str = "secateurs"

    @classmethod
    def of(cls, track: Tracking | Sequence[str] | str) -> Tracking:
        """From names, alone or with commas between them."""
        if isinstance(track, Tracking):
            return track
        return cls(read_names([track] if isinstance(track, str) else track))

    def require(self) -> None:
        """Raises: UnknownNameError, or MissingExtraError where a tracker is not installed."""
        for name in self.names:
            if name not in NAMES:
                raise unknown("tracker", name, NAMES)
            # MLflow alone can speak to a server; a database of its own needs more.
            local = name == "mlflow" and not require("mlflow", "track").is_tracking_uri_set()
            for module in (name, "sqlalchemy", "alembic") if local else (name,):
                require(module, "track")


class Told:
    """The trackers of one run, closed at the end of the ``with`` block. One process has them.

    Args:
        out: the run's folder, which keeps how a resumed run finds its place again.
    """

    def __init__(self, tracking: Tracking, config: RunConfig, out: Path) -> None:
        self.names, self.out = tracking.names, out
        self.about = About(title(config), settings(config), tracking.folder or out / FOLDER, tracking.group)
        self._open: dict[str, Opened] | None = None
        self._kept: dict[str, Any] = {}

    def __enter__(self) -> Told:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = kind is not None and issubclass(kind, (RunInterrupted, KeyboardInterrupt))
        state: State = "FINISHED" if kind is None else "KILLED" if stopped else "FAILED"
        while self._open:  # a tracker is closed once, whether or not that fails
            name, opened = self._open.popitem()
            self._safely(name, partial(opened.close, state))
        self._open = None

    def open(self) -> None:
        """Open the trackers, which may take seconds; otherwise the first thing told does."""
        if self._open is not None or not self.names:
            return
        self._open = {}
        path = self.out / KEPT
        self._kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for name in self.names:
            self._safely(name, partial(self._start, name))

    def moment(self, number: int, step: int, values: dict[str, float]) -> None:
        """A moment of the run, by its number. One that was told before a process was killed is not told again."""
        self.open()
        if number > self._kept.get(_MOMENTS, 0):
            self._log(step, values)
            self._keep(_MOMENTS, number)

    def end(self, record: Record) -> None:
        """How it ended."""
        self.open()
        self._log(record.train.steps["total"], end_values(record))

    def _log(self, step: int, values: dict[str, float]) -> None:
        self._each(lambda opened: opened.tracker.log(values, step=step))

    def _start(self, name: str) -> None:
        before = self._kept.get(name)
        self.about.folder.mkdir(parents=True, exist_ok=True)
        opened = OPENERS[name](self.about, before)
        assert self._open is not None
        self._open[name] = opened
        if before is None:
            opened.store()
            self._keep(name, opened.key)

    def _keep(self, name: str, value: Any) -> None:
        if self.names and self._kept.get(name) != value:
            self._kept[name] = value
            write_json(self.out / KEPT, self._kept)

    def _each(self, call: Callable[[Opened], None]) -> None:
        for name, opened in list((self._open or {}).items()):
            self._safely(name, partial(call, opened))

    def _safely(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            opened = (self._open or {}).pop(name, None)
            with contextlib.suppress(Exception):  # lest it stand in the next run's way
                if opened is not None:
                    opened.close("KILLED")
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            warnings.warn(f"tracker {name} failed and hears no more of this run: {said}", stacklevel=2)


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
    """The figures of the networks before and after, and what was asked for."""
    sides = {"dense": _AMOUNTS, "gated": ("accuracy",), "cut": ("accuracy",), "pruned": _AMOUNTS}
    out = {
        f"{side}/{name}": float(value)
        for side, names in sides.items()
        for name in names
        if (value := getattr(getattr(record, side), name)) is not None
    }
    out |= {f"budget/{name}": float(value) for name, value in record.targets.items()}
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
