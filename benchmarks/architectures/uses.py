"""What people do with a network, done with the cut one: copy, compile, export, trace, ONNX.

Each is held against the cut network's own answer. Where it fails, the dense network is asked for the same: what that
cannot do either is no fault of the cut.
"""

from __future__ import annotations

import copy
import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from secateurs.artifact import export_onnx

from .judge import call, gap, outputs, tensors

CLOSE = 1e-4  # of the largest output, for programs that sum in another order
Use = Callable[[nn.Module, Any], nn.Module | None]


def copied(model: nn.Module, example: Any) -> nn.Module:
    return copy.deepcopy(model)


def compiled(model: nn.Module, example: Any) -> nn.Module:
    """Through Dynamo and AOTAutograd; the code generator behind them sees only plain operators."""
    torch._dynamo.reset()
    return torch.compile(model, backend="aot_eager")  # type: ignore[return-value]


def exported(model: nn.Module, example: Any) -> nn.Module:
    args, kwargs = ((), example) if isinstance(example, dict) else ((example,), {})
    return torch.export.export(model, args, kwargs).module()  # type: ignore[return-value]


def traced(model: nn.Module, example: Any) -> nn.Module:
    given: dict[str, Any] = {"example_kwarg_inputs": example} if isinstance(example, dict) else {}
    inputs = {} if given else {"example_inputs": (example,)}
    script = torch.jit.trace(model, **inputs, **given, strict=False, check_trace=False)
    file = io.BytesIO()
    torch.jit.save(script, file)
    file.seek(0)
    return torch.jit.load(file)


def in_onnx(model: nn.Module, example: Any) -> None:
    """`export_onnx` compares with ONNX Runtime itself."""
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(model, example, Path(folder) / "network.onnx")


USES: dict[str, Use] = {
    "deepcopy": copied,
    "compile": compiled,
    "export": exported,
    "jit.trace": traced,
    "onnx": in_onnx,
}


def used(dense: nn.Module, small: nn.Module, example: Any) -> dict[str, str]:
    """For each use ``yes``; ``neither``, where the dense network cannot be used so either; or what went wrong."""
    found = {}
    for name, use in USES.items():
        problem = failing(use, small, example)
        if problem and failing(use, dense, example):
            found[name] = "neither"
        else:
            found[name] = problem or "yes"
    return found


def failing(use: Use, model: nn.Module, example: Any) -> str:
    """What goes wrong in a use of a network; empty where nothing does."""
    model = model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.no_grad():
                made = use(model, example)
                if made is None:
                    return ""
                torch.manual_seed(0)
                answer = [t.detach() for t in tensors(call(made, example))]
        except Exception as error:
            return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    difference = gap(outputs(model, example), answer)
    return "" if difference <= CLOSE else f"its answer differs by {difference:.1e}"
