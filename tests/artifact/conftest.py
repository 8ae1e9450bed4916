"""Networks whose artifacts the tests save, damage and load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

FACTORY = """
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def build(classes, input_shape):
    return Small(classes, 8)


def build_half(classes):
    return Small(classes, 8).half()


def tied():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    return model


def untied():
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))


def other(classes):
    return nn.Linear(3, classes)


def broken():
    raise RuntimeError("out of order")
"""


class Attention(nn.Module):
    """Nested outputs, a keyword, a transient buffer, a tensor constant and a region without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4 * 36, 5)
        self.register_buffer("scale", torch.full((4,), 0.5), persistent=False)
        self.offset = torch.arange(4.0)

    def forward(self, x: torch.Tensor, extra: dict | None = None) -> dict:
        y = self.norm(self.conv(x)).relu_() * self.scale.view(1, -1, 1, 1)
        z = y.flatten(2).transpose(1, 2)
        with torch.no_grad():
            w = z * 2
        z = self.attention(z, z, z)[0] + w + self.offset
        if extra is not None:
            z = z + extra["shift"]
        return {"logits": self.head(z.reshape(x.shape[0], -1)), "parts": (z, z.sum())}


@pytest.fixture
def factory_file(tmp_path: Path) -> Path:
    path = tmp_path / "factory.py"
    path.write_text(FACTORY)
    return path


def outputs(model: nn.Module, *args: torch.Tensor, **kwargs: object) -> list[torch.Tensor]:
    with torch.no_grad():
        return torch.utils._pytree.tree_leaves(model(*args, **kwargs))


def same(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> bool:
    return len(found) == len(wanted) and all(torch.equal(a, b) for a, b in zip(found, wanted))
