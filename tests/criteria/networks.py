"""Small float64 networks and batches for tests of scores, and references in plain loops."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from secateurs.partition import Players, players
from secateurs.signals import Signals

GRANULARITIES = ("weight", "channel", "head", "block")


def mlp(dtype: torch.dtype = torch.float64, hidden: tuple[int, int] = (7, 5)) -> nn.Sequential:
    torch.manual_seed(3)
    a, b = hidden
    return nn.Sequential(nn.Linear(4, a), nn.ReLU(), nn.Linear(a, b), nn.Tanh(), nn.Linear(b, 3)).to(dtype)


class Block(nn.Module):
    """x + BN(conv(x)), behind a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.bn(self.conv(x))).relu()


def conv_bn(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU, twice; with running statistics that are not the initial ones."""
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    return _settled(net, (16, 2, 5, 5)).to(dtype)


def residual(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(5)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), Block(), Block(), Block(), *head)
    return _settled(net, (16, 2, 5, 5)).to(dtype)


class Attention(nn.Module):
    """Two heads of width 3 over four tokens, then the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj, self.out = nn.Linear(6, 18), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.out(self.proj(mixed).mean(1))


def attention(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(6)
    return Attention().to(dtype)


def _settled(net: nn.Sequential, shape: tuple[int, ...]) -> nn.Sequential:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.3)
    net(torch.randn(shape))
    return net


NETS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...], tuple[str, ...]]] = {
    "mlp": (mlp, (4,), ("weight", "channel")),
    "conv": (conv_bn, (2, 5, 5), ("weight", "channel")),
    "residual": (residual, (2, 5, 5), ("weight", "channel", "block")),
    "attention": (attention, (4, 6), ("head",)),
}
"""Network, shape of an example, granularities at which it has players."""


def batch(shape: tuple[int, ...], count: int = 9, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(count, *shape, generator=g, dtype=torch.float64).to(dtype)
    return x, torch.randint(0, 3, (count,), generator=g)


def signals(found: Players, *batches: tuple[Tensor, Tensor], seed: int = 0, **given) -> Signals:
    return Signals(found, batches, generator=torch.Generator().manual_seed(seed), **given)


def find(model: nn.Module, x: Tensor, granularity: str = "channel") -> Players:
    return players(model, x[:2], granularity)


def elements(found: Players) -> Tensor:
    """``(players, elements)`` booleans: which elements of the gated parameters, laid end to end, are whose."""
    theta = [p.detach() for p in found.gates.parameters]
    eye = torch.eye(found.count, dtype=theta[0].dtype)
    ones = [torch.ones_like(t) for t in theta]
    return torch.stack([torch.cat([t.flatten() for t in found.gates.tangent(ones, row)]) for row in eye]) > 0


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


def loss_at(found: Players, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """The mean cross-entropy as a function of the gated parameters laid end to end, in evaluation mode."""
    found.model.eval()
    shapes = [p.shape for p in found.gates.parameters]

    def loss(theta: Tensor) -> Tensor:
        pieces = theta.split([s.numel() for s in shapes])
        named = {n: t.view(s) for n, t, s in zip(found.gates.names, pieces, shapes)}
        return nn.functional.cross_entropy(torch.func.functional_call(found.model, named, (x,)), y)

    return loss
