"""Multi-layer perceptrons: flatten, then linear layers with an activation between them, ReLU unless said."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

Activation: TypeAlias = Literal["relu", "sigmoid"]
Glorot: TypeAlias = Literal["normal", "uniform"]
ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"relu": torch.relu, "sigmoid": torch.sigmoid}
)


class MLP(nn.Module):
    """Linear layers ``fc1, fc2, …, out`` with an activation between; any input is flattened to (batch, features)."""

    def __init__(self, features: int, hidden: Sequence[int], classes: int, activation: Activation = "relu") -> None:
        super().__init__()
        widths = [features, *hidden]
        self.depth, self.activation = len(hidden), activation
        for i in range(self.depth):
            self.add_module(f"fc{i + 1}", nn.Linear(widths[i], widths[i + 1]))
        self.out = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, …) → (batch, classes)."""
        x, activate = x.flatten(1), ACTIVATIONS[self.activation]
        for i in range(self.depth):
            x = activate(self.get_submodule(f"fc{i + 1}")(x))
        return self.out(x)


def mlp(
    hidden: Sequence[int],
    classes: int,
    input_shape: Sequence[int],
    *,
    activation: Activation = "relu",
    glorot: Glorot | None = None,
) -> MLP:
    """An MLP for inputs of ``input_shape`` (without the batch axis).

    Args:
        glorot: biases of zero, and weights of variance 2/(fan in + fan out) from a normal or a uniform distribution
            (Glorot & Bengio 2010), instead of PyTorch's default.
    """
    model = MLP(math.prod(input_shape), hidden, classes, activation)
    if glorot:
        draw = nn.init.xavier_normal_ if glorot == "normal" else nn.init.xavier_uniform_
        for module in model.children():
            assert isinstance(module, nn.Linear)
            draw(module.weight)
            nn.init.zeros_(module.bias)
    return model
