"""The factory of a saved network: recorded when saving, found again and trusted, or not, when loading.

A ``file.py:factory`` is the user's own program and rebuilding runs it. A manifest can be forged, so it may
not choose what runs: only ``classes``, ``input_shape`` and ``seed`` are passed; the file must be where it was
recorded, outside the artifact itself and outside Python's own libraries; and its content must be what it was
at saving. Whoever names a factory in the call to ``load`` has taken the decision.
"""

from __future__ import annotations

import contextlib
import os
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import ArtifactError, SecateursError, UnknownNameError
from ..storage import sha256
from ..zoo import build_model
from .manifest import FactoryEntry, FactoryKwargs

_OTHERWISE = "or name it: load(folder, factory='file.py:factory')"


def record(spec: str, kwargs: Mapping[str, Any], folder: Path) -> FactoryEntry:
    """What the manifest says of a factory.

    Args:
        spec: ``zoo:NAME`` or ``file.py:factory``.
        kwargs: ``classes``, ``input_shape`` and ``seed``, as for :func:`secateurs.zoo.build_model`.
        folder: where the artifact will lie.
    Raises:
        ArtifactError: other arguments, or no such file.
    """
    unknown = sorted(set(kwargs) - set(FactoryKwargs.model_fields))
    if unknown:
        raise ArtifactError(
            f"factory {spec!r}: an artifact passes only {', '.join(FactoryKwargs.model_fields)} "
            f"to a factory, not {unknown[0]!r}; bind it inside the factory's file"
        )
    given = FactoryKwargs()
    for key, value in kwargs.items():
        setattr(given, key, [int(n) for n in value] if key == "input_shape" else int(value))
    entry = FactoryEntry(spec=spec, kwargs=given)
    path = file_of(spec)
    if path is None:
        return entry
    if not path.is_file():
        raise ArtifactError(f"factory {spec!r}: there is no file {str(path)!r} (looked in {str(Path.cwd())!r})")
    entry.file_sha256 = sha256(path)
    with contextlib.suppress(ValueError):  # another drive
        entry.relative = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    return entry


def build(entry: FactoryEntry, folder: Path, *, factory: str | None, trust_changed: bool) -> nn.Module:
    """Build the dense network anew.

    Args:
        entry: the record.
        folder: of the artifact.
        factory: used in place of the recorded one, unchecked.
        trust_changed: run the recorded file although its content has changed.
    Raises:
        ArtifactError: the factory has vanished, changed, may not run, or fails.
    """
    spec = factory if factory is not None else _found(entry, folder, trust_changed)
    given = entry.kwargs
    try:
        return build_model(spec, classes=given.classes, input_shape=given.input_shape, seed=given.seed)
    except UnknownNameError as error:
        raise ArtifactError(f"{str(folder)!r} was made by {spec!r}: {error}; {_OTHERWISE}") from error
    except SecateursError as error:
        raise ArtifactError(f"{str(folder)!r} cannot be rebuilt by {spec!r}: {error}") from error


def file_of(spec: str) -> Path | None:
    """The Python file that a spec names; None for the zoo."""
    if spec.startswith("zoo:"):
        return None
    path, colon, _ = spec.rpartition(":")
    return Path(path if colon and path.endswith(".py") else spec)


def _found(entry: FactoryEntry, folder: Path, trust_changed: bool) -> str:
    path = file_of(entry.spec)
    if path is None:
        return entry.spec
    places = [path] + ([folder / entry.relative] if entry.relative else [])
    present = [place for place in places if place.is_file()]
    if not present:
        looked = " and ".join(repr(os.path.normpath(place)) for place in places)
        raise ArtifactError(
            f"{str(folder)!r} was made by {entry.spec!r}, and that file is gone (looked for {looked}); "
            f"put it back, {_OTHERWISE}"
        )
    for place in present:
        _refuse_unsafe(place, folder, entry.spec)
    same = next((place for place in present if sha256(place) == entry.file_sha256), None)
    if same is None and not trust_changed:
        raise ArtifactError(
            f"{str(folder)!r} was made by {entry.spec!r}, and {str(present[0])!r} has changed since, so it "
            "was not run; restore it, or if you trust it: --trust-changed-factory, or in Python "
            "load(folder, trust_changed_factory=True)"
        )
    name = entry.spec.rpartition(":")[2]
    return f"{same or present[0]}:{name}"


def _refuse_unsafe(place: Path, folder: Path, spec: str) -> None:
    resolved = place.resolve()
    if resolved.is_relative_to(folder.resolve()):
        named = f"{place}:{spec.rpartition(':')[2]}"
        raise ArtifactError(
            f"{str(folder)!r} brings its own program {place.name!r}, which was not run: an artifact holds "
            f"data only; if you trust it, name it: load(folder, factory={named!r})"
        )
    libraries = {sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    if any(resolved.is_relative_to(Path(library).resolve()) for library in libraries):
        raise ArtifactError(
            f"{str(folder)!r} names {spec!r}, a file of an installed library, as its factory, which was not "
            f"run; save it anew {_OTHERWISE}"
        )
