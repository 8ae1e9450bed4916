"""Multi-layer perceptrons: flatten, then linear layers with ReLU between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers ``fc1, fc2, …, out`` with ReLU; any input is flattened to (batch, features)."""

    def __init__(self, features: int, hidden: Sequence[int], classes: int) -> None:
        super().__init__()
        widths = [features, *hidden]
        self.depth = len(hidden)
        for i in range(self.depth):
            self.add_module(f"fc{i + 1}", nn.Linear(widths[i], widths[i + 1]))
        self.out = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, …) → (batch, classes)."""
        x = x.flatten(1)
        for i in range(self.depth):
            x = self.get_submodule(f"fc{i + 1}")(x).relu()
        return self.out(x)


def mlp(hidden: Sequence[int], classes: int, input_shape: Sequence[int], *, glorot: bool = False) -> MLP:
    """An MLP for inputs of ``input_shape`` (without the batch axis).

    Args:
        glorot: weights from N(0, 2/(fan in + fan out)) and biases of zero (Glorot & Bengio 2010), instead of PyTorch's
            default.
    """
    model = MLP(math.prod(input_shape), hidden, classes)
    if glorot:
        for module in model.children():
            assert isinstance(module, nn.Linear)
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)
    return model
