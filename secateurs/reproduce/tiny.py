"""Networks small enough to know everything about: a weight's slope and curvature as asked, a saddle of two weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..criteria import Magnitude, Taylor
from ..errors import SecateursError
from ..partition import Players, players
from ..selection import top_k
from ..signals import Signals
from ..theory.curvature import Row, landscape


def squared(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Mean of ½(ŷ − y)²."""
    return 0.5 * (model(x).squeeze(-1) - y).square().mean()


def with_derivatives(weights: Sequence[float], slopes: Sequence[float], curvatures: Sequence[float]) -> Signals:
    """A linear unit on data whose mean squared loss has ∂L/∂w_i = g_i and ∂²L/∂w_i∂w_j = H_ii·[i = j].

    Of n weights, example i is √(n·H_ii) times the i-th unit vector, and its residual g_i·√(n/H_ii).

    Raises:
        SecateursError: a slope where there is no curvature: no squared error has that.
    """
    w, g, h = (torch.tensor(list(v), dtype=torch.float64) for v in (weights, slopes, curvatures))
    if ((h <= 0) & (g != 0)).any() or (h < 0).any():
        raise SecateursError(f"curvatures {list(curvatures)}: must not be negative, nor 0 where the slope is not")
    n = len(w)
    model = nn.Linear(n, 1, bias=False, dtype=torch.float64)
    model.weight.data = w[None]
    scale = (n * h).sqrt()
    residual = torch.where(h > 0, g * n / scale.clamp_min(1e-300), torch.zeros_like(g))
    x = torch.diag(scale)
    found = players(model, x[:2], "weight")
    return Signals(found, [(x, x @ w - residual)], loss=squared)


@dataclass(frozen=True)
class Saliency:
    """Every measure of a weight's importance, ``(weights,)`` each, and what its removal really costs."""

    magnitude: Tensor
    first: Tensor
    second: Tensor
    change: Tensor

    def pruned(self, weight: int) -> list[str]:
        """By which measures this weight is the first to go. Nobody is pruned by a measure that cannot tell."""
        names = {"magnitude": self.magnitude, "first order": self.first, "second order": self.second}
        out = []
        for name, values in names.items():
            others = torch.cat([values[:weight], values[weight + 1 :]])
            if float(values[weight]) < float(others.min()) and not torch.isclose(values[weight], others.min()):
                out.append(name)
        return out


def saliency(signals: Signals) -> Saliency:
    """The library's own scores; second order is −g·w + ½H·w² (from ``slope`` and ``curvature``); the change is measured
    by setting each weight to zero."""
    found = signals.players
    second = -signals.slope + 0.5 * signals.curvature
    return Saliency(
        Magnitude()(found, signals),
        Taylor()(found, signals),
        second,
        torch.stack([_loss_without(signals, i) for i in range(found.count)]) - _loss(signals),
    )


def _loss(signals: Signals) -> Tensor:
    (x, y) = signals.batches[0]
    with torch.no_grad():
        return signals.loss(signals.players.model, x, y)


def _loss_without(signals: Signals, weight: int) -> Tensor:
    held = [p.data for p in signals.players.gates.parameters]
    before = [p.clone() for p in held]
    keep = torch.arange(signals.players.count) != weight
    signals.players.gates.scaled(held, keep.to(held[0]), out=held)
    try:
        return _loss(signals)
    finally:
        for p, b in zip(held, before):
            p.copy_(b)


class Product(nn.Module):
    """ŷ = v·u·x, two weights in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.u = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        self.v = nn.Linear(1, 1, bias=False, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.v(self.u(x))


def saddle(decay: float = 0.1) -> list[Row]:
    """½(uv − 1)² + ½·decay·(u² + v²) at u = v = 0, where H = [[decay, −1], [−1, decay]]: dense, and with u alone."""
    model = Product()
    for parameter in model.parameters():
        parameter.data.zero_()
    one = torch.ones(1, 1, dtype=torch.float64)

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return squared(net, x, y) + 0.5 * decay * sum(p.square().sum() for p in net.parameters())

    found = players(model, one, "weight")
    masks = {"dense": None, "v pruned": torch.tensor([True, False])}
    return landscape(found, [(one, one[0])], {"u = v = 0": model.state_dict()}, masks, loss=loss)


def largest_kept(found: Players, share: float) -> Tensor:
    """Mask of the largest magnitudes, rounded to a whole number of players."""
    return top_k(Magnitude()(found, Signals(found)), round(share * found.count))
