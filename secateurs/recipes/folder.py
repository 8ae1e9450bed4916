"""A run's folder: who may write there, and whether what lies there is the same run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from ..errors import RunError
from ..records import RECORD_FILE
from ..spec import RunConfig
from ..storage import write_json

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
        state = "a finished run" if (out / RECORD_FILE).exists() else "an unfinished run"
        raise RunError(
            f"--out {str(out)!r} already holds {state}; continue it with --resume or replace it with --force"
        )
    if occupied:
        _same_run(held, config)
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


def _same_run(held: Path, config: RunConfig) -> None:
    before = json.loads(held.read_text(encoding="utf-8"))
    now = config.model_dump(mode="json")
    changed = [k for k in now if now[k] != before.get(k)]
    if changed:
        what = ", ".join(f"{k}: {before.get(k)!r} there, {now[k]!r} now" for k in changed)
        raise RunError(f"--resume: {str(held.parent)!r} holds another run ({what}); use its settings, or --force")
