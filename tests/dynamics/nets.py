"""Small float64 networks, their players and a batch, for tests of what moves participation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secateurs.partition import Players, players
from secateurs.zoo.resnet import resnet20
from secateurs.zoo.vit import ViT


def mlp(seed: int = 0, widths: Sequence[int] = (6, 5, 4, 3), dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        layers += [nn.Linear(a, b), nn.ReLU()] if i < len(widths) - 2 else [nn.Linear(a, b)]
    return nn.Sequential(*layers).to(dtype)


def conv_bn(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    for module in net:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.3)
    return net.double()


def residual(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return resnet20(10, (3, 8, 8)).double()


def vit(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return ViT((1, 8, 8), 3, patch=4, width=8, depth=2, heads=4, hidden=6).double()


def batch(shape: Sequence[int], classes: int = 3, count: int = 8, seed: int = 1) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *shape, generator=g, dtype=torch.float64)
    return x, torch.randint(0, classes, (count,), generator=g)


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(x), y)


def find(model: nn.Module, x: Tensor, granularity: str = "channel") -> Players:
    return players(model, x[:2], granularity)
