"""A folder that is whole or absent: written aside, moved into place, an older artifact kept until then."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import ArtifactError, RunError
from .manifest import MANIFEST, PROGRAM, WEIGHTS, read_manifest


@contextlib.contextmanager
def replacing(folder: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``folder``; on success it takes its place, on failure it vanishes.

    Raises:
        RunError: the place cannot be written.
        ArtifactError: ``folder`` exists and holds something else than an artifact.
    """
    folder = Path(folder)
    _check_replaceable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        part.chmod(0o777 & ~_umask())
        yield part
        for path in (*part.iterdir(), part):
            _sync(path)
        _check_replaceable(folder)  # once more: a long save leaves time for others
        _swap(part, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    """Only an artifact, or nothing, is replaced: no file that is not ours is lost."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArtifactError(f"{str(folder)!r} is a file; give a folder to save the network in")
    held = {path.name for path in folder.iterdir()}
    if not held:
        return
    foreign = sorted(held - {MANIFEST, WEIGHTS, PROGRAM})
    if foreign:
        raise ArtifactError(
            f"{str(folder)!r} holds {', '.join(foreign[:3])}, which is not part of an artifact and would be "
            "lost; save into a new or empty folder"
        )
    try:
        read_manifest(folder)
    except ArtifactError as error:
        raise ArtifactError(f"not replaced: {error}; save into another folder, or remove this one") from error


def _swap(part: Path, folder: Path) -> None:
    if not folder.exists():
        os.replace(part, folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent))
    os.replace(folder, aside)  # onto an empty folder, which rename allows
    try:
        os.replace(part, folder)
    except OSError:
        os.replace(aside, folder)
        raise
    _sync(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    with contextlib.suppress(PermissionError):  # some systems cannot open folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _unwritable(folder: Path, error: OSError) -> RunError:
    said = error.strerror or error
    return RunError(f"cannot write {str(folder)!r}: {said}; choose another folder or fix its permissions")
