"""Saving: everything is written aside, read back, run, compared, and only then moved into place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import ArtifactError
from . import tensors as tensor_files
from .factory import record
from .folder import replacing
from .inputs import answer, as_call, batch_of, device_of, difference, resized, signature
from .loading import load_with
from .manifest import PROGRAM, WEIGHTS, Manifest, describe, write_manifest
from .program import capture

if TYPE_CHECKING:
    from ..structure import Surgery


# By the bits of the output's dtype, for outputs up to 1: a program sums in another order than fused modules.
_TOLERANCE = {16: 2e-2, 32: 1e-4, 64: 1e-9}


def save(
    model: nn.Module,
    folder: str | Path,
    *,
    factory: str | None,
    factory_kwargs: Mapping[str, Any] | None = None,
    surgery: Surgery | None = None,
    example_inputs: Any,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Save a network, pruned or not, so that :func:`load` gives the same network back.

    With a factory the folder holds the weights and how the factory's network was cut. Without one it holds
    the network's exported program. Before it takes its place the folder is loaded and run on the example
    inputs; a network that does not come back is not saved. An older artifact at the same place is replaced
    as a whole.

    Args:
        model: on any device; left as it is.
        folder: new, empty, or an older artifact.
        factory: ``zoo:NAME`` or ``file.py:factory``, which builds the *dense* network; None for the program.
        factory_kwargs: ``classes``, ``input_shape`` and ``seed`` that it was built with.
        surgery: what ``shrink`` reported; None for an uncut network.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, batch axis first.
        metadata: anything JSON can hold, returned by ``read_manifest(folder).metadata``.
    Returns:
        The folder.
    Raises:
        ArtifactError: the network cannot be saved, or comes back different; the message says why.
        RunError: the place cannot be written.
    """
    folder, model = Path(folder), _bare(model)
    if factory is None:
        program, values, entries, tied = capture(model, example_inputs)
    else:
        program = None
        values, entries, tied = tensor_files.gather(model)
    manifest = Manifest(
        route="program" if factory is None else "factory",
        factory=None if factory is None else record(factory, factory_kwargs or {}, folder),
        surgery=None if surgery is None else json.loads(surgery.model_dump_json()),
        inputs=signature(example_inputs),
        tensors=entries,
        tied=tied,
        files={},
        versions=_versions(),
        metadata=_plain(metadata or {}),
    )
    with replacing(folder) as part:
        tensor_files.write(part / WEIGHTS, values)
        if program is not None:
            (part / PROGRAM).write_text(json.dumps(program, allow_nan=False) + "\n", encoding="utf-8")
        manifest.files = {path.name: describe(path) for path in sorted(part.iterdir())}
        write_manifest(part, manifest)
        try:
            _check(model, part, folder, example_inputs)
        except ArtifactError as error:
            if factory is None or surgery is not None:
                raise
            raise ArtifactError(
                f"{error}. {factory!r} builds the dense network; if this one was cut, say how: "
                "surgery=optimizer.harvested after a harvest, or the surgery that shrink reported"
            ) from error
    return folder


def _check(model: nn.Module, part: Path, folder: Path, example_inputs: Any) -> None:
    """The network that comes back answers as the one that was given, at every batch size that both take."""
    loaded = load_with(part, named=folder, device=device_of(model))
    given = batch_of(example_inputs)
    for size in sorted({given, 1, given + 1}, key=lambda size: size != given) if given else [0]:
        args, kwargs = resized(example_inputs, size) if given else as_call(example_inputs)
        inputs = kwargs if kwargs else args
        try:
            wanted, found = answer(model, inputs), answer(loaded, inputs)
        except Exception:
            if size == given:
                raise
            continue  # a network of one batch size
        worst, scale = difference(found, wanted)
        lowest = min((torch.finfo(t.dtype).bits for t in wanted if t.is_floating_point()), default=32)
        if not worst <= _TOLERANCE.get(lowest, 1e-1) * scale:
            raise ArtifactError(
                f"{str(folder)!r} was not written: the network that comes back differs from the one given by "
                f"{worst:.3g} on a batch of {size}; check that the factory builds the network that was cut, "
                "the same every time"
            )


def _versions() -> dict[str, str]:
    try:
        own = version("secateurs")
    except PackageNotFoundError:  # a checkout on the path, not installed
        own = "unknown"
    return {"secateurs": own, "torch": str(torch.__version__)}


def _bare(model: nn.Module) -> nn.Module:
    """The network inside a compiled or distributed wrapper."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(metadata)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ArtifactError(f"metadata must be what JSON can hold: {error}") from error
