"""Loading: digest, then checksums, then schema, and only then anything of the content is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ArtifactError, StructureError
from . import factory as factories
from . import tensors as tensor_files
from .manifest import PROGRAM, RESAVE, WEIGHTS, Manifest, check_files, read_manifest
from .rebuild import rebuild


def load(
    folder: str | Path,
    *,
    factory: str | None = None,
    trust_changed_factory: bool = False,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """Load a network that :func:`save` wrote, in eval mode.

    Nothing is unpickled. A network saved with ``zoo:NAME`` runs this library's code only; one saved with
    ``file.py:factory`` runs that file, if it lies where it was and has not changed (what it imports is not
    checked); one saved without a factory comes back as a graph of torch's operators and runs no other code.

    Args:
        folder: of the artifact.
        factory: use this factory and not the recorded one.
        trust_changed_factory: run the recorded file although it has changed since.
        device: where the network is put.
    Raises:
        ArtifactError: missing, damaged, foreign or newer than this library; a factory that vanished, changed
            or builds another network. The message names the path and the remedy.
    """
    return load_with(Path(folder), factory=factory, trust_changed=trust_changed_factory, device=device)


def load_with(
    folder: Path,
    *,
    named: Path | None = None,
    factory: str | None = None,
    trust_changed: bool = False,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """:func:`load`, for a folder that will be called ``named``: relative paths are seen from there."""
    device = torch.device(device)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    tensors = tensor_files.read(folder / WEIGHTS, manifest.tensors, device)
    try:
        if manifest.route == "program":
            program = _read_program(folder / PROGRAM)
            return rebuild(program, tensors, manifest.tensors, manifest.tied, device)
        model = _from_factory(manifest, named or folder, factory, trust_changed).to(device)
        tensor_files.restore(model, tensors, manifest.tensors, manifest.tied)
    except ArtifactError as error:
        message = str(error)
        shown = str(named or folder)
        raise (error if shown in message else ArtifactError(f"{shown!r}: {message}")) from error
    return model.eval()


def _from_factory(manifest: Manifest, folder: Path, factory: str | None, trust_changed: bool) -> nn.Module:
    if manifest.factory is None:
        raise ArtifactError(f"{str(folder)!r} names no factory and holds no program; {RESAVE}")
    model = factories.build(manifest.factory, folder, factory=factory, trust_changed=trust_changed)
    if manifest.surgery is None:
        return model
    from ..structure import Surgery, replay

    try:
        replay(model, Surgery.model_validate(manifest.surgery))
    except (StructureError, LookupError, ValueError, AttributeError, TypeError, RuntimeError) as error:
        raise ArtifactError(
            f"{str(folder)!r}: the network of {factory or manifest.factory.spec!r} cannot be cut as "
            f"recorded: {error}; use the factory that it was saved with"
        ) from error
    return model


def _read_program(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{str(path)!r} is damaged: {error}; {RESAVE}") from error
