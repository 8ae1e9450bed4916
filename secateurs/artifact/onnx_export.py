"""Export to ONNX, believed only after ONNX Runtime has given the same answers at several batch sizes."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..errors import ArtifactError, RunError, require
from .inputs import (
    answer,
    as_call,
    batch_of,
    batched,
    device_of,
    difference,
    exporting,
    moved,
    resized,
    tensors_in,
)

_LARGEST = 1_500_000_000  # bytes of weights in one file; protobuf ends at 2 GiB


@dataclass(frozen=True)
class OnnxCheck:
    """An exported file that ONNX Runtime agreed with.

    Attributes:
        path: the file.
        max_abs_difference: between ONNX Runtime's output and the network's, the worst over ``batches``.
        opset: of the file.
        bytes: of the file (and of its data file, for a network too large for one).
        dynamic_batch: whether the file takes any batch size.
        batches: the sizes it was checked at.
        note: what the user should know, or "".
    """

    path: Path
    max_abs_difference: float
    opset: int
    bytes: int
    dynamic_batch: bool
    batches: tuple[int, ...]
    note: str = ""


def export_onnx(model: nn.Module, example_inputs: Any, path: str | Path, *, atol: float = 1e-4) -> OnnxCheck:
    """Write ``model`` as one ONNX file and check it numerically in ONNX Runtime before it takes its place.

    The batch axis is free where the network allows it; where it does not, the file takes the example's batch
    size and the note says so. The network is exported in eval mode; its modes are restored.

    Args:
        model: on any device.
        example_inputs: a tensor, a tuple of positional or a dict of keyword arguments, batch axis first.
        path: replaced only by a file that passed.
        atol: allowed absolute difference, times the largest magnitude of the output where that is above 1.
    Raises:
        ArtifactError: torch cannot export it, ONNX Runtime cannot run it, or the answers differ.
        MissingExtraError: the ``onnx`` extra is not installed.
        RunError: the place cannot be written.
    """
    require("onnxscript", "onnx")
    require("onnxruntime", "onnx")
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as error:
        raise RunError(f"cannot write {str(path)!r}: {error.strerror}; choose another place") from error
    try:
        return _exported(model, example_inputs, path, aside, atol)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _exported(model: nn.Module, example_inputs: Any, path: Path, aside: Path, atol: float) -> OnnxCheck:
    part = aside / path.name
    batch = batch_of(example_inputs)
    problems: list[str] = []
    for dynamic in (True, False) if batch else (False,):
        # One example would be taken for a constant, so a free batch is exported with two.
        inputs = resized(example_inputs, 2) if dynamic and batch == 1 else as_call(example_inputs)
        batches = tuple(sorted({1, batch, batch + 3})) if dynamic else (batch,)
        try:
            _write(model, inputs, part, dynamic)
            worst = max(_compare(model, example_inputs, part, size, atol) for size in batches)
        except ArtifactError as error:
            problems.append(str(error))
            part.unlink(missing_ok=True)
            continue
        size = sum(file.stat().st_size for file in aside.iterdir())
        opset = _opset(part)
        for file in sorted(aside.iterdir(), key=lambda file: file == part):  # the model last
            os.replace(file, path.parent / file.name)
        note = f"fixed to batches of {batch}: {problems[0]}" if problems else ""
        return OnnxCheck(path, worst, opset, size, dynamic, batches, note)
    raise ArtifactError(f"{str(path)!r} was not written: {problems[-1]}")


def _write(model: nn.Module, inputs: tuple[tuple[Any, ...], dict[str, Any]], part: Path, dynamic: bool) -> None:
    args, kwargs = moved_call(inputs, model)
    shapes = _shapes(model, args, kwargs) if dynamic else None
    weights = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    try:
        with _quiet(), exporting(model):
            torch.onnx.export(
                model,
                args,
                str(part),
                kwargs=kwargs,
                dynamo=True,
                dynamic_shapes=shapes,
                external_data=weights > _LARGEST,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many unrelated classes
        said = str(error.__cause__ or error).strip().splitlines()
        raise ArtifactError(
            f"torch cannot export {type(model).__name__} to ONNX: {said[0] if said else error!r}"
        ) from error


def moved_call(inputs: tuple[tuple[Any, ...], dict[str, Any]], model: nn.Module) -> Any:
    """A call's ``(args, kwargs)`` on the model's device."""
    args, kwargs = inputs
    device = device_of(model)
    return moved(args, device)[0], moved(kwargs, device)[1]


def _shapes(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    batch = batch_of(args if args else kwargs)
    free = torch.export.Dim("batch")

    def shape(leaf: Any) -> Any:
        return {0: free} if isinstance(leaf, Tensor) and batched(leaf, batch) else None

    if not kwargs:
        names = list(inspect.signature(model.forward).parameters.values())
        shapes = tree_map(shape, args)
        return (shapes,) if names and names[0].kind is names[0].VAR_POSITIONAL else shapes
    return tree_map(shape, kwargs)


def _compare(model: nn.Module, example_inputs: Any, part: Path, size: int, atol: float) -> float:
    args, kwargs = resized(example_inputs, size) if size else as_call(example_inputs)
    inputs = kwargs if kwargs else args
    try:
        wanted = answer(model, inputs)
    except Exception as error:  # whatever the user's own network raises
        said = str(error).strip().splitlines()[:1]
        raise ArtifactError(f"{type(model).__name__} itself fails on a batch of {size}: {''.join(said)}") from error
    found = _run(part, tensors_in(as_call(inputs)))
    worst, scale = difference(found, wanted)
    if not worst <= atol * scale:
        raise ArtifactError(
            f"ONNX Runtime's answer differs from the network's by {worst:.3g} at batch {size}, "
            f"and {atol * scale:.3g} is allowed; raise atol if that is acceptable"
        )
    return worst


def _run(part: Path, tensors: list[Tensor]) -> list[Tensor]:
    runtime = require("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised; it need not be printed too
    options.intra_op_num_threads = max(1, torch.get_num_threads())
    try:
        session = runtime.InferenceSession(str(part), options, providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_inputs()]
        if len(names) != len(tensors):
            raise ValueError(f"the file takes {len(names)} inputs and the network {len(tensors)}")
        outputs = session.run(None, {name: t.detach().cpu().numpy() for name, t in zip(names, tensors)})
    except Exception as error:  # ONNX Runtime's classes have no public base
        raise ArtifactError(f"ONNX Runtime cannot run the exported file: {str(error).splitlines()[0]}") from error
    return [torch.as_tensor(output) for output in outputs]


def _opset(part: Path) -> int:
    onnx = require("onnx", "onnx")
    imports = onnx.load(str(part), load_external_data=False).opset_import
    return next(int(entry.version) for entry in imports if entry.domain in ("", "ai.onnx"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's progress lines, warnings and logs are kept from the user."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
