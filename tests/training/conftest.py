"""Small data for the loop, made of tensors, so that these tests need neither files nor scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from secateurs.zoo import TensorSplit


@dataclass
class Small:
    """What a trainer reads of a data set."""

    train: TensorSplit
    validation: TensorSplit
    hash: str = "0" * 64


def make_data(count: int = 200) -> Small:
    """Four classes in eight dimensions, told apart by a random linear map."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count + 60, 8, generator=generator)
    y = (x @ torch.randn(8, 4, generator=generator)).argmax(1)
    return Small(TensorSplit(x[:count], y[:count]), TensorSplit(x[count:], y[count:]))


def make_model(dropout: float = 0.2) -> nn.Module:
    """With BatchNorm (buffers) and dropout (randomness): what resuming may get wrong."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 4))


@pytest.fixture
def data() -> Small:
    return make_data()
