"""A device without noise: it computes outputs in blocks of sixteen, and whatever is no product takes no time."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
from torch import nn

from secateurs.measure import breakdown, table
from secateurs.measure.operators import Timing, Timings
from secateurs.recipes import latency
from secateurs.structure.calls import Operand

PYTHON_MS = 0.001  # of any network, whatever its widths


class Clockwork(Timings):
    """Milliseconds by arithmetic."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))

    def _measured(self, operator: Any, args: Any, kwargs: Any) -> Timing | None:
        shapes = [a.shape for a in args if isinstance(a, Operand)]
        name, taken = operator._schema.name, 0.0
        if name == "aten::convolution":
            taken = blocks(shapes[1][0]) * prod(shapes[1][1:]) * prod(shapes[0][2:]) / 1e6
        elif name == "aten::addmm":
            taken = blocks(shapes[2][1]) * shapes[2][0] / 1e6
        return taken, taken, taken


def blocks(size: int) -> int:
    return -(-size // 16) * 16


def milliseconds(model: nn.Module, inputs: Any, threads: int = 1) -> float:
    """What the device takes for one run of a model."""
    return PYTHON_MS + sum(ms for _, ms in breakdown(model, inputs, timings=Clockwork()))


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let latency budgets run on this device."""
    monkeypatch.setattr(latency, "timings_of", lambda model: Clockwork())
    monkeypatch.setattr(latency, "share", lambda m, dense, x: milliseconds(m, x) / milliseconds(dense, x))
    monkeypatch.setattr(table, "quiet_ms", milliseconds)
