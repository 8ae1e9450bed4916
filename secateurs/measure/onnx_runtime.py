"""The same measurements on ONNX files, in ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArtifactError, require
from .inputs import batch_size, tensors_of
from .latency import Comparison, Latency, Timer, interleaved, wall_timer


def onnx_latency(
    path: str | Path,
    inputs: Any,
    *,
    threads: int = 1,
    repeats: int = 30,
    warmup: int = 5,
    seconds: float = 10.0,
) -> Latency:
    """Time one ONNX file in ONNX Runtime.

    Args:
        path: the file.
        inputs: what the exported network takes; its tensors, in order, are the file's inputs.
        threads: of ONNX Runtime's own pool.
        repeats, warmup, seconds: as for :func:`~secateurs.measure.latency`.
    Raises:
        ArtifactError: the file is missing or ONNX Runtime cannot read it or take these inputs.
        MissingExtraError: ONNX Runtime is not installed.
    """
    return compare_onnx({"model": path}, inputs, threads=threads, repeats=repeats, warmup=warmup, seconds=seconds)[
        "model"
    ]


def compare_onnx(
    paths: Mapping[str, str | Path],
    inputs: Any,
    *,
    threads: int = 1,
    repeats: int = 30,
    warmup: int = 5,
    seconds: float = 20.0,
) -> Comparison:
    """Time several ONNX files on the same inputs in interleaved rounds; ratios are over the first."""
    timers = {name: _timer(Path(path), inputs, threads) for name, path in paths.items()}
    about = {"threads": threads, "batch": batch_size(inputs), "device": "cpu (ONNX Runtime)"}
    return interleaved(timers, repeats=repeats, warmup=warmup, seconds=seconds, about=about)


def _timer(path: Path, inputs: Any, threads: int) -> Timer:
    runtime = require("onnxruntime", "onnx")
    if not path.is_file():
        raise ArtifactError(f"there is no ONNX file {str(path)!r}; write one with `secateurs export RUN --onnx FILE`")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # what fails is raised; it need not be printed too
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = _feed(session, inputs)
        session.run(None, feed)
    except Exception as error:  # its exception classes have no common base and are not public
        raise ArtifactError(f"ONNX Runtime cannot run {str(path)!r} on these inputs: {error}") from error
    return wall_timer(lambda: session.run(None, feed))


def _feed(session: Any, inputs: Any) -> dict[str, np.ndarray]:
    arrays = [tensor.detach().cpu().numpy() for tensor in tensors_of(inputs)]
    names = [node.name for node in session.get_inputs()]
    if len(names) != len(arrays):
        raise ValueError(f"the file takes {len(names)} inputs ({', '.join(names)}) and {len(arrays)} were given")
    return dict(zip(names, arrays))
