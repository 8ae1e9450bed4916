"""Scores by numbers worked by hand, on a network of two neurons, and on a convolution."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from secateurs.criteria import (
    OBD,
    OBS,
    Activation,
    Apoz,
    BNScale,
    Fisher,
    GeometricMedian,
    Grasp,
    Magnitude,
    MagnitudeL1,
    Score,
    Skeleton,
    Snip,
    SynFlow,
    Taylor,
    Taylor2,
)
from secateurs.errors import RunError, StructureError
from secateurs.partition import players
from secateurs.signals import Signals


def _net() -> nn.Sequential:
    """Rows (3, 4) and (0, 2) with biases 1 and −1, read by (2, −5)."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
        model[0].bias.copy_(torch.tensor([1.0, -1.0]))
        model[2].weight.copy_(torch.tensor([[2.0, -5.0]]))
        model[2].bias.zero_()
    return model


def _squares(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return model(x).square().sum(1).mean()


def _scored(score: Score, model: nn.Module, x: Tensor, granularity: str = "channel") -> list[float]:
    """Scores under the loss f², of one batch."""
    found = players(model, x[:2], granularity)
    y = torch.zeros(len(x), dtype=torch.long)
    return score(found, Signals(found, [(x, y)], loss=_squares)).tolist()


def test_magnitude() -> None:
    """Row norms, biases left out: √(9+16) = 5, √4 = 2; 3 + 4 and 2. Single weights: |w|."""
    model, x = _net(), torch.ones(2, 2)
    assert _scored(Magnitude(), model, x) == [5.0, 2.0]
    assert _scored(MagnitudeL1(), model, x) == [7.0, 2.0]
    for score in (Magnitude(), MagnitudeL1()):
        assert _scored(score, model, x, "weight") == [3.0, 4.0, 0.0, 2.0, 2.0, 5.0]


class _Sum(nn.Module):
    """Two convolutions into one sum, each behind a BatchNorm or not."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.out = (nn.Conv2d(i, o, 1, bias=False) for i, o in ((1, 2), (1, 2), (2, 1)))
        self.na, self.nb = (nn.BatchNorm2d(2), nn.BatchNorm2d(2)) if norm else (nn.Identity(), nn.Identity())
        with torch.no_grad():
            self.a.weight.copy_(torch.tensor([3.0, 1.0]).view(2, 1, 1, 1))
            self.b.weight.copy_(torch.tensor([-4.0, 0.0]).view(2, 1, 1, 1))
            self.out.weight.fill_(100.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.out((self.na(self.a(x)) + self.nb(self.b(x))).relu())


def test_magnitude_of_half_precision() -> None:
    model = nn.Linear(2, 2, bias=False).bfloat16()
    model.weight.data = torch.tensor([[1.0, -2.0], [0.5, 0.0]], dtype=torch.bfloat16)
    found = players(model, torch.ones(2, 2, dtype=torch.bfloat16), "weight")
    for score in (Magnitude(), MagnitudeL1()):
        assert score(found, Signals(found)).tolist() == [1.0, 2.0, 0.5, 0.0]


def test_tied_producers() -> None:
    """Filter norms 3 and 4 make √(9+16) = 5, or 3 + 4 = 7; the filters (3, −4) and (1, 0) are √(4+16) apart."""
    x = torch.ones(2, 1, 2, 2)
    assert _scored(Magnitude(), _Sum(), x) == [5.0, 1.0]
    assert _scored(MagnitudeL1(), _Sum(), x) == [7.0, 1.0]
    assert _scored(GeometricMedian(), _Sum(), x) == pytest.approx([math.sqrt(20)] * 2)


def test_geometric_median() -> None:
    """Filters (0,0), (3,4), (6,8) on a line: the middle one is 5 from both, the outer ones 5 + 10."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    model[0].weight.data = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    assert _scored(GeometricMedian(), model, torch.ones(2, 2)) == pytest.approx([15.0, 10.0, 15.0])


def test_bn_scale() -> None:
    """|γ|; the mean where a channel goes through two. A layer without a BatchNorm is named."""
    model, x = _Sum(norm=True), torch.ones(2, 1, 2, 2)
    model.na.weight.data = torch.tensor([-3.0, 0.5])
    model.nb.weight.data = torch.tensor([1.0, 0.5])
    assert _scored(BNScale(), model, x) == [2.0, 0.5]
    mixed = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 3, 1), nn.Conv2d(3, 1, 1))
    with pytest.raises(StructureError, match="'bn-scale': 3 goes through no BatchNorm"):
        BNScale().require(players(mixed, x))
    found = players(mixed, x, ignore=["3"])
    assert BNScale()(found, Signals(found)).tolist() == [1.0, 1.0]


def test_activation_and_zeros() -> None:
    """x = (1, 1), (−1, 0): h = (8, 1), then (−2, −1) → (0, 0). Means 4 and ½; half of each is not zero. One more
    example (0, 1) gives (5, 1): means 13/3 and 2/3."""
    model, x = _net(), torch.tensor([[1.0, 1.0], [-1.0, 0.0]])
    assert _scored(Activation(), model, x) == [4.0, 0.5]
    assert _scored(Apoz(), model, x) == [0.5, 0.5]
    more = torch.cat([x, torch.tensor([[0.0, 1.0]])])
    assert _scored(Activation(), model, more) == pytest.approx([13 / 3, 2 / 3])
    assert _scored(Apoz(), model, more) == pytest.approx([2 / 3, 2 / 3])


def test_activations_are_averaged_over_positions_and_through_flattening() -> None:
    """One filter doubles, one negates. Of the pixels 1, −2, 3, 0 the ReLU lets 2, 6 and 2 through: means 2 and ½; two
    and one of four are not zero. Read by a linear layer, which sees every pixel as an input of its own."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1))
    model[0].weight.data = torch.tensor([2.0, -1.0]).view(2, 1, 1, 1)
    x = torch.tensor([1.0, -2.0, 3.0, 0.0]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    assert _scored(Activation(), model, x) == [2.0, 0.5]
    assert _scored(Apoz(), model, x) == [0.5, 0.25]
    conv = nn.Sequential(*model[:2], nn.Conv2d(2, 1, 1))
    assert _scored(Activation(), conv, x) == [2.0, 0.5]


class _Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 3), nn.Parameter(torch.ones(1, 3))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.one(x).relu(), self.two)


def test_a_reader_that_is_no_module_is_named() -> None:
    found = players(_Functional(), torch.ones(2, 2))
    with pytest.raises(StructureError, match="'activation': one is read by no"):
        Activation().require(found)


def test_first_order() -> None:
    """x = (1, 1): h = (8, 1), f = 2·8 − 5·1 = 11, L = f², ∂L/∂h = 22·(2, −5).

    ∂L/∂s_g = ⟨∂L/∂θ_g, θ_g⟩ = ∂L/∂h_g·h_g while the ReLU is open: 44·8 = 352 and −110·1.
    """
    model, x = _net(), torch.ones(1, 2)
    assert _scored(Taylor(), model, x) == pytest.approx([352.0, 110.0])
    assert _scored(Snip(), model, x) == pytest.approx([352 / 462, 110 / 462])
    # w·∂L/∂w: 44·(3, 4), −110·(0, 2), 22·(2·8, −5·1)
    assert _scored(Taylor(), model, x, "weight") == pytest.approx([132, 176, 0, 220, 352, 110])
    found = players(model, x)
    with pytest.raises(RunError, match="give batches"):
        Taylor()(found, Signals(found))


def test_snip_of_a_flat_loss_is_zero() -> None:
    model = _net()
    model[2].weight.data.zero_()
    assert _scored(Snip(), model, torch.ones(1, 2)) == [0.0, 0.0]


def test_second_order() -> None:
    """f = 16·s₁ − 5·s₂ and L = f²: ∂²L/∂s² = 2·16² = 512 and 2·25 = 50; slopes 352 and −110.

    Removal changes L = 121 to (−5)² = 25 and to 16² = 256, by −352 + 256 = −96 and 110 + 25 = 135: a quadratic, so
    the second order is exact. ‖∂L/∂θ‖² has the slope 2·θᵀHg in s.
    """
    model, x = _net(), torch.ones(1, 2)
    assert _scored(OBD(), model, x) == pytest.approx([256.0, 25.0])
    assert _scored(Taylor2(), model, x) == pytest.approx([-96.0, 135.0])
    assert _scored(Fisher(), model, x) == pytest.approx([352**2 / 2, 110**2 / 2])
    # L = f², f = 2·(3x+4x+1) − 5·(2x'−1): gated parameters' gradient is 22·(2·(1,1,1), −5·(1,1,1)) = 22·v, H = 2vvᵀ.
    # ‖v‖² = 3·4 + 3·25 = 87; Hg = 44·87·v; θ_g·v_g = 2·8 = 16 and −5·1.
    assert _scored(Grasp(), model, x) == pytest.approx([44 * 87 * 16, -44 * 87 * 5])


def test_obs_of_one_example() -> None:
    """G = 22v, N = 1, d = 6: λ = ‖G‖²/6 = c/6 with c = 484·87. M − A_g² = c/6 + c − 484·‖v_g‖²,
    u = 352 and −110; ‖θ_g‖² = 9 + 16 + 1 and 4 + 1."""
    model, x = _net(), torch.ones(1, 2)
    c = 484 * 87
    shift = c / 6
    first = 0.5 * shift * (26 + 352**2 / (shift + c - 484 * 12))
    second = 0.5 * shift * (5 + 110**2 / (shift + c - 484 * 75))
    assert _scored(OBS(), model, x) == pytest.approx([first, second])


def test_fisher_averages_squares_over_examples() -> None:
    """x = (1, 1) gives slopes (352, −110); x = (0, 1): h = (5, 1), f = 5, L = 25: 10·2·5 = 100 and −50."""
    x = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert _scored(Fisher(), _net(), x) == pytest.approx([(352**2 + 100**2) / 4, (110**2 + 50**2) / 4])


def test_skeleton() -> None:
    """Two outputs, o = softmax: E = |1 − o₁| + o₂ = 2·o₂ = 2σ(z₂ − z₁) for the label 0.

    Hidden h = x·(1, 2) read by ((1, 0), (0, 1)): z = (1, 2) at x = 1, so o₂ = σ(1) and ∂E/∂z₂ = 2σ(1)(1 − σ(1)).
    The first neuron speaks for the right class: relevance −∂E/∂s₁ = +2σ'·1; the second against: −2σ'·2.
    """
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [2.0]]))
        model[2].weight.copy_(torch.eye(2))
    slope = 2 * torch.tensor(1.0).sigmoid().item() * torch.tensor(-1.0).sigmoid().item()
    assert _scored(Skeleton(), model, torch.ones(2, 1)) == pytest.approx([slope, -2 * slope])


def test_synflow() -> None:
    """|W₂||W₁|1 with biases: |h| = (3+4+1, 2+1) = (8, 3), R = 16 + 15 = 31, whatever the example.

    θ·∂R/∂θ of the first layer's groups: 2·8 and 5·3; of single weights 2·3, 2·4, 0, 5·2, then 16 and 15.
    """
    model, x = _net(), torch.full((2, 2), -7.0)
    assert _scored(SynFlow(), model, x) == pytest.approx([16 / 31, 15 / 31])
    assert _scored(SynFlow(), model, x, "weight") == pytest.approx([k / 31 for k in (6, 8, 0, 10, 16, 15)])
