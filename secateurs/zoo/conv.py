"""Plain convolutional networks: no branches, so every filter is a player of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class LeNet5(nn.Module):
    """LeNet-5 as Caffe has it: 5×5 convolutions of 20 and 50 filters, then 500 units.

    ReLU follows each convolution, as in the pruning literature that reports on "LeNet-5-Caffe"
    (20-50-800-500 for 28×28 images).
    """

    def __init__(self, classes: int, input_shape: Sequence[int]) -> None:
        super().__init__()
        channels, height, width = input_shape
        flat = 50 * (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
        self.conv1 = nn.Conv2d(channels, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(flat, 500)
        self.out = nn.Linear(500, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) → (batch, classes)."""
        x = F.max_pool2d(self.conv1(x).relu(), 2)
        x = F.max_pool2d(self.conv2(x).relu(), 2)
        return self.out(self.fc1(x.flatten(1)).relu())


class ConvBN(nn.Module):
    """Blocks of 3×3 convolution, BatchNorm, ReLU; ``"M"`` in the plan is a 2×2 max pool."""

    def __init__(self, plan: Sequence[int | str], classes: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for entry in plan:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2))
                continue
            # BatchNorm's shift makes a convolution bias redundant.
            layers += [nn.Conv2d(channels, entry, 3, padding=1, bias=False), nn.BatchNorm2d(entry), nn.ReLU()]
            channels = entry
        self.features = nn.Sequential(*layers)
        self.out = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) → (batch, classes)."""
        return self.out(self.features(x).mean((2, 3)))


VGG16: tuple[int | str, ...] = (
    64,
    64,
    "M",
    128,
    128,
    "M",
    256,
    256,
    256,
    "M",
    512,
    512,
    512,
    "M",
    512,
    512,
    512,
    "M",
)
SMALL: tuple[int | str, ...] = (16, 16, "M", 32, 32, "M", 64, 64)


def vgg16_bn(classes: int, input_shape: Sequence[int]) -> ConvBN:
    """VGG-16 with BatchNorm for CIFAR: thirteen convolutions, one linear layer."""
    return ConvBN(VGG16, classes, input_shape[0])


def conv_small(classes: int, input_shape: Sequence[int]) -> ConvBN:
    """Six convolutions, 16-16-32-32-64-64: seconds to train on 8×8 or 16×16 images."""
    return ConvBN(SMALL, classes, input_shape[0])
