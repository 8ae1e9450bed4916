"""``artifact.json``: what the folder holds, how to rebuild the network from it, and a checksum of everything.

The manifest lists the SHA-256 and size of every other file and carries a digest of itself, so that a flipped
bit anywhere is found before anything is interpreted. A digest finds damage, not a forger, who can write a new
one: therefore nothing in a manifest is ever executed either, and every field is validated before use.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import ArtifactError
from ..storage import sha256

FORMAT = "secateurs-artifact"
VERSION = 1
MANIFEST, WEIGHTS, PROGRAM = "artifact.json", "model.safetensors", "program.json"
_LARGEST = 256 << 20  # bytes of JSON; a manifest larger than this is not one

RESAVE = "save it again, or take an undamaged copy"


class Part(BaseModel):
    """Part of a manifest: types are strict, unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class FileEntry(Part):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class TensorEntry(Part):
    """One tensor; ``order`` where memory is not laid out in the order of the axes (channels last)."""

    shape: list[int]
    dtype: str
    role: Literal["parameter", "buffer", "constant"]
    persistent: bool = True
    requires_grad: bool = False
    order: list[int] | None = None


class FactoryKwargs(Part):
    """The only arguments that a manifest may pass to a factory."""

    classes: int = 10
    input_shape: list[int] = Field(default_factory=lambda: [1, 28, 28])
    seed: int = 0


class FactoryEntry(Part):
    """``spec`` as the user gave it; for a file also its checksum, and its path relative to the folder."""

    spec: str
    kwargs: FactoryKwargs
    file_sha256: str | None = None
    relative: str | None = None


class InputEntry(Part):
    """Example inputs: a nest of lists, dicts and leaves, and each tensor leaf's shape and dtype."""

    tree: Any
    shapes: list[list[int]]
    dtypes: list[str]


class Manifest(Part):
    """The whole of ``artifact.json``."""

    format: Literal["secateurs-artifact"] = FORMAT  # type: ignore[assignment]
    version: int = VERSION
    route: Literal["factory", "program"]
    factory: FactoryEntry | None = None
    surgery: dict[str, Any] | None = None
    inputs: InputEntry
    tensors: dict[str, TensorEntry]
    tied: dict[str, str] = Field(default_factory=dict, description="alias → the name that is stored")
    files: dict[str, FileEntry]
    versions: dict[str, str] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``artifact.json`` with its digest (not atomic: the folder is moved into place as a whole)."""
    content = manifest.model_dump(mode="json")
    content["digest"] = _digest(content)
    text = json.dumps(content, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(folder: str | Path) -> Manifest:
    """Read and validate ``artifact.json``; the other files are not looked at.

    Raises:
        ArtifactError: missing, damaged, foreign, or written by a newer version of the format.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    content = _read_json(folder, path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ArtifactError(f"{str(path)!r} is not a Secateurs artifact; give the folder that `secateurs prune` wrote")
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ArtifactError(
            f"{str(path)!r} has format version {version}, and this Secateurs reads up to {VERSION}; "
            "upgrade with: pip install --upgrade secateurs"
        )
    if content.pop("digest", None) != _digest(content):
        raise ArtifactError(f"{str(path)!r} is damaged or was edited: its checksum does not match; {RESAVE}")
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"]))
        said = f"{where}: {detail['msg']}"
        raise ArtifactError(f"{str(path)!r} is not a valid artifact: {said}; {RESAVE}") from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare every file with its recorded size and SHA-256.

    Raises:
        ArtifactError: a file is missing, truncated, or has other content; the message names it.
    """
    wanted = {WEIGHTS} | ({PROGRAM} if manifest.route == "program" else set())
    if set(manifest.files) != wanted:
        raise ArtifactError(
            f"{str(folder / MANIFEST)!r} lists the files {sorted(manifest.files)} where {sorted(wanted)} "
            f"belong; {RESAVE}"
        )
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != entry.bytes:
                raise ArtifactError(f"{str(path)!r} has {size} bytes and should have {entry.bytes}; {RESAVE}")
            if sha256(path) != entry.sha256:
                raise ArtifactError(f"{str(path)!r} is damaged: its checksum does not match; {RESAVE}")
        except OSError as error:
            raise ArtifactError(f"cannot read {str(path)!r}: {error.strerror}; {RESAVE}") from error


def describe(path: Path) -> FileEntry:
    """Size and checksum of a file just written."""
    return FileEntry(sha256=sha256(path), bytes=os.path.getsize(path))


def _read_json(folder: Path, path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST:
            raise ArtifactError(f"{str(path)!r} is too large to be an artifact's manifest")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        aside = sorted(folder.parent.glob(f".{folder.name}.*.old")) if not folder.exists() else []
        hint = f"; an older version was kept at {str(aside[-1])!r}" if aside else ""
        what = "no such folder" if not folder.exists() else f"it has no {MANIFEST}"
        raise ArtifactError(f"{str(folder)!r} is not a Secateurs artifact: {what}{hint}") from error
    except OSError as error:
        raise ArtifactError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{str(path)!r} is damaged: it is not JSON ({error}); {RESAVE}") from error


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON: independent of spacing and of the order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
