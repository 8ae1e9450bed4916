"""Small float64 networks of every kind of reader, cut or masked."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import secateurs
from secateurs.recovery import Removal

Batches = list[tuple[Tensor, Tensor]]


def labelled(x: Tensor, size: int = 8) -> Batches:
    torch.manual_seed(9)
    return [(part, torch.randint(3, (len(part),))) for part in x.split(size)]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 6, bias=False), nn.ReLU(), nn.Linear(6, 3))


def convs() -> nn.Module:
    """Borders, strides, dilation, a kernel of one position, groups, depthwise, flattened features."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=2, dilation=2, padding_mode="reflect"), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding="same", groups=8), nn.ReLU(),
        nn.Conv2d(8, 8, 1, stride=(2, 1)), nn.ReLU(),
        nn.Conv2d(8, 6, (2, 3), groups=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(36, 3),
    )  # fmt: skip


def conv1d() -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 5, 3), nn.ReLU(), nn.Conv1d(5, 3, 2), nn.AdaptiveAvgPool1d(1), nn.Flatten())


def conv3d() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 5, 2), nn.ReLU(), nn.Conv3d(5, 3, 2), nn.AdaptiveAvgPool3d(1), nn.Flatten())


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 10, dropout=0.1, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x).mean(1))


class Repeated(nn.Module):
    """One layer three times, in place, and two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Linear(4, 7), nn.Linear(7, 7)
        self.left, self.right = nn.Linear(7, 5, bias=False), nn.Linear(7, 5, bias=False)
        self.right.weight = self.left.weight
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu_()
        for _ in range(3):
            x = self.again(x).relu_()
        return self.out((self.left(x) + self.right(x.square())).tanh())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (4,)),
    "convs": (convs, (2, 9, 9)),
    "conv1d": (conv1d, (2, 7)),
    "conv3d": (conv3d, (1, 4, 4, 4)),
    "transformer": (Transformer, (5, 6)),
    "repeated": (Repeated, (4,)),
}


def network(kind: str, examples: int = 40, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    """A network in evaluation mode, with running statistics that are not the initial ones, and inputs."""
    torch.manual_seed(1)
    make, shape = NETWORKS[kind]
    net, x = make().to(dtype), torch.randn(examples, *shape, dtype=dtype)
    with torch.no_grad():
        net(x)
    return net.eval(), x


def cut(net: nn.Module, x: Tensor, seed: int = 0, share: float = 0.4) -> tuple[nn.Module, Removal]:
    """Without a random share of its players."""
    players = secateurs.players(net, x[:2])
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(players.count, generator=generator)
    keep = scores > share
    for layer in players.layers:
        keep[layer.start + int(scores[layer.start : layer.stop].argmax())] = True
    shrunk = secateurs.shrink(net, players.structure, players.atom_mask(keep))
    return shrunk.model.eval(), Removal(net, shrunk.surgery)


def masked(net: nn.Module, seed: int = 0, share: float = 0.5) -> tuple[nn.Module, Removal]:
    """A random share of the entries of weights set to zero."""
    import copy

    generator = torch.Generator().manual_seed(seed)
    small = copy.deepcopy(net)
    masks = {}
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            if parameter.dim() > 1:
                masks[name] = torch.rand(parameter.shape, generator=generator) > share
                parameter.mul_(masks[name])
    return small, Removal(net, masks=masks)


def removed(net: nn.Module, x: Tensor, how: str, seed: int = 0) -> tuple[nn.Module, Removal]:
    return cut(net, x, seed) if how == "cut" else masked(net, seed)
