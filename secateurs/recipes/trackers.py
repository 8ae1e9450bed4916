"""The three trackers, each opened and closed: where it writes, how it finds a run again, and what it leaves as it was.

All are spoken to through Accelerate's classes. What these leave to their caller is here: a process may have runs of its
own in a tracker, and settings; they are the same after a run of ours.
"""

from __future__ import annotations

import contextlib
import os
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

State = Literal["FINISHED", "KILLED", "FAILED"]

# A server that does not answer would hold a run up for four minutes; so it is half a minute.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4"}
_LOCKED = 60  # seconds that a process waits for another one's writing
_made: Counter[Path] = Counter()  # databases that this process saw made


@dataclass(frozen=True)
class About:
    """What a tracker is told of a run when it is opened.

    Attributes:
        title: its name. settings: its configuration, flat. folder: for files on this machine. group: of runs.
    """

    title: str
    settings: dict[str, Any]
    folder: Path
    group: str


@dataclass(frozen=True)
class Opened:
    """A tracker that hears of a run.

    Attributes:
        tracker: Accelerate's. key: what finds the run again. store: tells the settings. close: says how the run ended.
    """

    tracker: Any
    key: str
    store: Callable[[], None]
    close: Callable[[State], None]


def _tensorboard(about: About, before: str | None) -> Opened:
    from accelerate.tracking import TensorBoardTracker
    from torch.utils.tensorboard.summary import hparams

    name = before or about.title
    # A run that starts anew takes back what a failed one of the same name left.
    given = {} if before else {"purge_step": 0}
    tracker = TensorBoardTracker(name, logging_dir=about.folder, **given)
    tracker.start()

    def store() -> None:
        # Accelerate's own way shows every run twice, the second time named by the clock.
        for part in hparams(about.settings, {}):
            tracker.writer.file_writer.add_summary(part)

    return Opened(tracker, name, store, lambda state: tracker.finish())


def _mlflow(about: About, before: str | None) -> Opened:
    import mlflow
    from accelerate.tracking import MLflowTracker

    given: dict[str, Any] = {"run_id": before} if before else {"run_name": about.title}
    given["nested_run"] = mlflow.active_run() is not None  # the caller's own
    folder = about.folder.resolve()
    with contextlib.ExitStack() as undo:
        undo.enter_context(_environment(_PATIENCE))
        if not mlflow.is_tracking_uri_set():
            undo.enter_context(_local_store(folder / "mlflow.db"))
            given["logging_dir"] = (folder / "mlflow").as_uri()
        tracker = MLflowTracker(about.group, **given)
        with FileLock(folder / "mlflow.lock"):  # the first of several processes makes its tables
            tracker.start()
        restore = undo.pop_all()

    def close(state: State) -> None:
        with restore:
            tracker.finish() if state == "FINISHED" else mlflow.end_run(state)

    def store() -> None:
        tracker.store_init_configuration(about.settings)

    return Opened(tracker, tracker.tracker.info.run_id, store, close)


def _wandb(about: About, before: str | None) -> Opened:
    import wandb
    from accelerate.tracking import WandBTracker

    given: dict[str, Any] = {"id": before or uuid.uuid4().hex[:8], "resume": "allow", "name": about.title}
    given |= {"dir": str(about.folder), "group": about.group, "settings": wandb.Settings(silent=True)}
    # Beside a run of the caller's. Accelerate would then store settings in that one, so they are given here.
    given |= {"reinit": "create_new", "config": about.settings}
    if not os.environ.get("WANDB_MODE") and not wandb.login(prompt=False):
        warnings.warn(
            "Weights & Biases knows no login here, so the run is kept offline; `wandb sync` uploads it", stacklevel=2
        )
        given["mode"] = "offline"
    tracker = WandBTracker(os.environ.get("WANDB_PROJECT", "secateurs"), **given)
    tracker.start()

    def close(state: State) -> None:
        tracker.finish() if state == "FINISHED" else tracker.tracker.finish(exit_code=1)

    return Opened(tracker, given["id"], lambda: None, close)


OPENERS: dict[str, Callable[[About, str | None], Opened]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}


@contextlib.contextmanager
def _local_store(path: Path) -> Iterator[None]:
    """MLflow's runs go into a database of ours, and afterwards where they went before.

    MLflow keeps a connection for every address it was given. A database that was deleted and made anew, as ``--force``
    does, must therefore have another address; its time limit is a part of that which may vary.
    """
    import mlflow

    _made[path] += not path.exists()
    mlflow.set_tracking_uri(f"sqlite:///{path}?timeout={_LOCKED + _made[path]}")
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # it sets that as well


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables that the user has not set, within the block."""
    new = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
