"""A run's folder: who may write there, and whether what lies there is the same run.

A run that failed before it kept anything gives the folder back, so that the corrected command simply starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

from ..errors import RunError
from ..records import RECORD_FILE
from ..spec import RunConfig
from ..storage import write_json
from .latency import file_of
from .tracking import FOLDER, KEPT

CONFIG_FILE = "config.json"


def open_folder(out: Path, config: RunConfig, *, resume: bool, force: bool) -> bool:
    """Make ``out`` this run's folder. Returns whether the run is already finished (``resume`` of a whole run).

    Raises:
        RunError: it holds a run and neither ``resume`` nor ``force`` was given; it holds another run; it holds
            something that is no run; or it cannot be written.
    """
    try:
        return _open(out, config, resume=resume, force=force)
    except OSError as error:
        raise RunError(
            f"cannot use --out {str(out)!r}: {error.strerror or error}; choose another folder or change its permissions"
        ) from error


def _open(out: Path, config: RunConfig, *, resume: bool, force: bool) -> bool:
    if out.exists() and not out.is_dir():
        raise RunError(f"--out {str(out)!r} is a file; name a folder")
    held = out / CONFIG_FILE
    occupied = out.is_dir() and any(out.iterdir())
    if occupied and not _is_run(held):
        raise RunError(f"--out {str(out)!r} holds files that are not a run; choose an empty or a new folder")
    if occupied and force:
        shutil.rmtree(out)
        occupied = False
    if occupied and not resume:
        raise RunError(f"--out {str(out)!r} already holds {_state(out, held, config)}")
    if occupied:
        if changed := _changed(held, config):
            raise RunError(
                f"--resume: {str(out)!r} holds another run ({changed}); use its settings, or replace it with --force"
            )
        return (out / RECORD_FILE).exists()
    if resume:
        raise RunError(f"--resume: {str(out)!r} holds no run to continue; leave --resume out to start one")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise RunError(
            f"no permission to write into --out {str(out)!r}; choose another folder or change its permissions"
        )
    write_json(held, config.model_dump(mode="json"))
    return False


def _is_run(held: Path) -> bool:
    """Whether a configuration file is one of ours: --force deletes the folder, and other tools write files of this
    name too."""
    try:
        found = json.loads(held.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(found, dict) and set(RunConfig.model_fields) <= set(found)


def give_back(out: Path, config: RunConfig) -> None:
    """Remove the run in ``out`` if nothing there is worth continuing: no checkpoint, and no trained network."""
    # The networks before and after the cut are of use to a checkpoint only.
    worthless = {CONFIG_FILE, file_of(out).name, "gated.safetensors", "cut.safetensors", FOLDER, KEPT}
    if config.reference != "train":
        worthless.add("dense.safetensors")
    if not out.is_dir() or not {path.name for path in out.iterdir()} <= worthless:
        return
    for path in list(out.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with contextlib.suppress(OSError):  # a mount point, or somebody's working folder
        out.rmdir()


def _state(out: Path, held: Path, config: RunConfig) -> str:
    """What lies there, and what can be done about it."""
    if (out / RECORD_FILE).exists():
        return f"a finished run; --force replaces it, and `secateurs report {out}` shows it"
    if changed := _changed(held, config):
        return f"an unfinished run with other settings ({changed}); replace it with --force, or choose another folder"
    return "an unfinished run; continue it with --resume or replace it with --force"


def _changed(held: Path, config: RunConfig) -> str:
    """How the run that lies there differs from this one; empty if it does not."""
    before = json.loads(held.read_text(encoding="utf-8"))
    now = config.model_dump(mode="json")
    return ", ".join(f"{k}: {before.get(k)!r} there, {now[k]!r} now" for k in now if now[k] != before.get(k))
