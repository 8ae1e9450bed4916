"""∂L/∂s_g, and what it must satisfy: finite differences, conservation between layers, shadow prices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from secateurs.dynamics import FixedPrices, Participating, Utility
from secateurs.partition import Players, scale_free_layers

from .nets import batch, conv_bn, cross_entropy, find, mlp, residual, vit

NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int, str]] = {
    "mlp": (mlp, (6,), 3, "channel"),
    "conv-bn": (conv_bn, (2, 6, 6), 3, "channel"),
    "residual": (residual, (3, 8, 8), 10, "channel"),
    "vit-heads": (vit, (1, 8, 8), 3, "head"),
    "vit-neurons": (vit, (1, 8, 8), 3, "channel"),
    "vit-both": (vit, (1, 8, 8), 3, "channel+head"),
    "weights": (lambda: mlp(widths=(4, 3, 2)), (4,), 2, "weight"),
}


def _loss_at(found: Players, raw: list[Tensor], s: Tensor, loss: Callable[[], Tensor]) -> Tensor:
    with torch.no_grad():
        found.gates.scaled(raw, s, out=[p.data for p in found.gates.parameters])
    return loss()


def _slopes(found: Players, raw: list[Tensor], s: Tensor, loss: Callable[[], Tensor]) -> Tensor:
    value = _loss_at(found, raw, s, loss)
    grads = torch.autograd.grad(value, found.gates.parameters)
    return found.gates.dot(list(grads), raw, s)


@pytest.mark.parametrize("name", NETS)
def test_slope_is_the_derivative_in_participation(name: str) -> None:
    build, shape, classes, granularity = NETS[name]
    model, (x, y) = build(), batch(shape, classes)
    from secateurs.partition import players

    found = players(model, x[:2], granularity.split("+"))
    raw = [p.detach().clone() for p in found.gates.parameters]
    g = torch.Generator().manual_seed(2)
    s = 0.3 + 0.7 * torch.rand(found.count, generator=g, dtype=torch.float64)
    loss = lambda: cross_entropy(model, x, y)  # noqa: E731
    slope = _slopes(found, raw, s, loss)
    asked = torch.randperm(found.count, generator=g)[:40].tolist()
    h = 1e-6
    with torch.no_grad():
        for player in asked:
            up, down = s.clone(), s.clone()
            up[player] += h
            down[player] -= h
            numeric = (_loss_at(found, raw, up, loss) - _loss_at(found, raw, down, loss)) / (2 * h)
            assert float(slope[player]) == pytest.approx(float(numeric), rel=1e-5, abs=2e-9)
    assert float(slope.abs().max()) > 1e-4


def _layer_sums(model: nn.Module, found: Players, s: Tensor, loss: Callable[[], Tensor]) -> Tensor:
    raw = [p.detach().clone() for p in found.gates.parameters]
    product = s * _slopes(found, raw, s, loss)
    return torch.stack([product[x.start : x.stop].sum() for x in found.layers])


def test_layers_share_the_same_sum_of_benefits_where_there_are_no_biases() -> None:
    """Σ_{g∈layer} s_g·∂L/∂s_g = ⟨∂L/∂f, f⟩ in every layer of a bias-free ReLU network: what fair_share rests on."""
    torch.manual_seed(0)
    widths = (6, 9, 4, 7, 3)
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b, bias=False), nn.ReLU()]
    model, (x, y) = nn.Sequential(*layers[:-1]).double(), batch((6,), count=32)
    found = find(model, x)
    s = 0.2 + 0.8 * torch.rand(found.count, dtype=torch.float64)
    sums = _layer_sums(model, found, s, lambda: cross_entropy(model, x, y))
    output = model(x)
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(output, y), output)
    torch.testing.assert_close(sums, (slope * output).sum().detach().expand(3))
    biased = mlp(widths=widths)
    sums = _layer_sums(biased, find(biased, x), s, lambda: cross_entropy(biased, x, y))
    assert float(sums.max() - sums.min()) > 1e-3 * float(sums.abs().max())  # the condition is not idle


def test_which_layers_are_scale_free() -> None:
    """In a residual block only the inner channels: BatchNorm's β and the trunk see the others' scale."""
    cases = {"mlp": [False, False], "conv-bn": [True, False]}
    for name, expected in cases.items():
        build, shape, classes, _ = NETS[name]
        model, (x, _) = build(), batch(shape, classes)
        assert scale_free_layers(find(model, x), lambda m=model, x=x: m(x)) == expected
    model, (x, _) = residual(), batch((3, 8, 8), 10)
    found = find(model, x)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    free = {layer.name: f for layer, f in zip(found.layers, scale_free_layers(found, lambda: model(x)))}
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    inner = {n: f for n, f in free.items() if n.endswith("conv1") and n.count(".") > 0}
    assert inner and all(inner.values()), free
    assert not all(free.values()), free  # the last trunk feeds the classifier


def _converge(radius: Tensor | None, steps: int, kind: str = "sgd") -> tuple[float, Tensor, float]:
    """Train a tiny regression to its optimum: (loss, −∂L/∂s, largest gradient left).

    Args:
        radius: scale of each player's initial weights, whose norm is then its radius; None: no gauge.
    """
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    x = torch.randn(24, 2, dtype=torch.float64)
    y = (2 * x[:, :1] * x[:, 1:]).tanh() + 1.5 * x[:, :1] + 0.3 * torch.randn(24, 1, dtype=torch.float64)
    if radius is not None:
        with torch.no_grad():
            model[0].weight.mul_(radius[:, None])
            model[0].bias.mul_(radius)
    for parameter in model[2].parameters():
        parameter.requires_grad_(False)  # else the readout would grow in the players' place
    found = find(model, x)
    inner: torch.optim.Optimizer = torch.optim.SGD(model[0].parameters(), 0.3, momentum=0.9)
    if kind == "lbfgs":
        inner = torch.optim.LBFGS(model[0].parameters(), 1.0, max_iter=50, line_search_fn="strong_wolfe")
    optimizer = Participating(inner, found, FixedPrices(Utility(), 0.0), gauge="none" if radius is None else "norm")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        if kind == "lbfgs":
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    loss = closure()
    grads = [p.grad for p in found.gates.parameters]
    raw = [p.detach() for p in found.gates.parameters]  # s = 1 throughout
    return float(loss.detach()), -found.gates.dot(grads, raw), max(float(g.abs().max()) for g in grads)


def test_at_an_optimum_without_gauge_every_benefit_vanishes() -> None:
    loss, benefit, gradient = _converge(None, 40, "lbfgs")
    assert gradient < 1e-6 and float(benefit.abs().max()) < 1e-5
    assert loss < _converge(torch.full((3,), 0.4, dtype=torch.float64), 600)[0]


def test_on_the_norm_sphere_the_benefit_is_the_shadow_price() -> None:
    """−∂L/∂s_g = −dL*/d log‖θ_g‖: what the optimal loss would gain from a longer leash (envelope theorem)."""
    start = torch.full((3,), 0.4, dtype=torch.float64)
    _, benefit, gradient = _converge(start, 600)
    assert gradient > 1e-3  # not a stationary point of L: the gradient is radial
    h = 1e-3
    for player in range(3):
        up, down = start.clone(), start.clone()
        up[player] *= 1 + h
        down[player] *= 1 - h
        gain = (_converge(down, 600)[0] - _converge(up, 600)[0]) / (2 * h)
        assert float(benefit[player]) == pytest.approx(gain, rel=1e-3, abs=1e-6)
    assert bool((benefit > 0).all())
