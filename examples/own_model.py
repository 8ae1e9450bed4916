"""A model and data of your own, for the command line: one function for each.

secateurs inspect --model examples/own_model.py:build --data examples/own_model.py:loaders
secateurs prune --model examples/own_model.py:build --data examples/own_model.py:loaders \
    --budget params=0.25 --epochs 40 --out runs/own
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset


class Residual(nn.Module):
    """Two convolutions beside a skip: what enters and what leaves must be cut together."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            nn.Conv2d(width, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.inside(x))


def build(classes: int, input_shape: Sequence[int]) -> nn.Module:
    """Called with what the data say; a factory without parameters is fine too."""
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        Residual(24, 32),
        nn.MaxPool2d(2),
        Residual(24, 32),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, classes),
    )


def loaders() -> dict[str, TensorDataset]:
    """Datasets or DataLoaders called train and test; a validation part is cut from train if there is none."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1400], order[1400:]
    return {"train": TensorDataset(x[train], y[train]), "test": TensorDataset(x[test], y[test])}
