"""Synaptic flow: conserved sums, and no layer emptied at densities where one-shot scores empty one."""

from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateurs.criteria import SCORES, SynFlow
from secateurs.errors import StructureError
from secateurs.partition import Players, players
from secateurs.recipes.oneshot import OneShotOptions, OneShotRun
from secateurs.signals import Signals
from secateurs.spec import Budget
from secateurs.zoo.conv import vgg16_bn


def _net(kind: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    plain = partial(nn.Linear, bias=False)
    if kind == "mlp":
        return nn.Sequential(plain(6, 9), nn.ReLU(), plain(9, 4), nn.ReLU(), plain(4, 3)), torch.randn(2, 6)
    conv = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)
    layers = [conv(2, 5), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), conv(5, 4), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), plain(16, 3)), torch.randn(2, 2, 4, 4)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_every_layer_s_scores_sum_to_the_flow(kind: str) -> None:
    """Σ θ·∂R/∂θ = R over each layer without biases (Tanaka et al. 2020, theorem 1), as R is linear in each."""
    model, x = _net(kind)
    found = players(model, x, "weight")
    scores = SynFlow()(found, Signals(found))
    assert bool((scores >= 0).all())
    sums = torch.stack([scores[layer.start : layer.stop].sum() for layer in found.layers])
    torch.testing.assert_close(sums, torch.ones(len(sums)))
    double = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for p in double.parameters():
            p.abs_()
    double(torch.ones_like(x).double()).sum().backward()
    flow = double(torch.ones_like(x).double()).sum()
    shares = [(p.grad * p).flatten() / flow for p in double.parameters() if p.dim() > 1]  # type: ignore[operator]
    torch.testing.assert_close(scores, torch.cat(shares).float())


def test_neurons_conserve_it_too() -> None:
    """What flows into a neuron flows out of it: its incoming weights' scores sum to its outgoing ones'."""
    model, x = _net("mlp")
    found = players(model, x, "weight")
    a, b, c = SynFlow()(found, Signals(found)).split([54, 36, 12])
    torch.testing.assert_close(a.view(9, 6).sum(1), b.view(4, 9).sum(0))
    torch.testing.assert_close(b.view(4, 9).sum(1), c.view(3, 4).sum(0))


def test_inputs_and_signs_do_not_matter_and_deep_networks_do_not_overflow() -> None:
    model, x = vgg16_bn(10, (3, 32, 32)), torch.randn(2, 3, 32, 32)
    found = players(model, x)
    scores = SynFlow()(found, Signals(found))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(torch.randint(2, p.shape) * 2 - 1)
        for name, b in model.named_buffers():
            if "running_mean" in name:
                b.normal_()
        for p in model.parameters():
            p.mul_(10)  # R is beyond what float32 holds
    again = SynFlow()(found, Signals(found))
    torch.testing.assert_close(again, scores, rtol=1e-4, atol=0)


class _Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.fail = nn.Linear(3, 4), nn.Linear(4, 2), False

    def forward(self, x: Tensor) -> Tensor:
        if self.fail:
            raise ValueError("on purpose")
        return self.two(self.one(x).relu())


def test_the_model_is_whole_after_an_error() -> None:
    model = _Broken().train()
    found = players(model, torch.randn(2, 3))
    before, model.fail = copy.deepcopy(model.state_dict()), True
    with pytest.raises(ValueError, match="on purpose"):
        SynFlow()(found, Signals(found))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and model.training
    assert all(p.requires_grad for p in model.parameters())


def test_networks_that_take_no_numbers_are_refused() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    found = players(model, torch.randint(5, (2, 3)))
    with pytest.raises(StructureError, match="none of its inputs is of floating point"):
        SynFlow()(found, Signals(found))


# -- layer collapse ---------------------------------------------------------------------------------------------


def _deep() -> tuple[nn.Sequential, Tensor]:
    """A narrow and a very wide layer among others: at initialisation the wide one's weights look worthless."""
    torch.manual_seed(0)
    widths = (32, 32, 32, 400, 32, 10)
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1]), torch.randn(64, 32)


def _counts(name: str, rounds: int, density: float) -> tuple[Players, list[int]]:
    """Weights that each layer keeps, with no minimum that would save it."""
    model, x = _deep()
    found = players(model, x[:2], "weight")
    found.layers = [_without_minimum(layer) for layer in found.layers]
    run = OneShotRun(SCORES[name](), found, Budget(groups=density), OneShotOptions(rounds=rounds), 10)
    held = Signals(found, [(x, torch.randint(10, (64,)))], training=True)
    keep = run.select(run.scores(held))
    assert int(keep.sum()) == int(density * found.count)
    return found, found.mass(keep.float()).astype(int).tolist()


def _without_minimum(layer: Any) -> Any:
    from dataclasses import replace

    return replace(layer, least=0, minimum=0)


def test_many_rounds_empty_no_layer_where_one_shot_does() -> None:
    """At 0.3% of the weights: magnitude, SNIP and SynFlow in one round empty a layer, so that the network is
    constant; SynFlow in 100 rounds keeps a path."""
    for name in ("magnitude", "snip", "synflow"):
        assert 0 in _counts(name, 1, 0.003)[1], name
    assert 0 not in _counts("synflow", 100, 0.003)[1]
    assert SynFlow.rounds == 100 and SynFlow.early and SynFlow.needs == "nothing"


def test_signals_are_not_asked_for_data() -> None:
    model, x = _net("mlp")
    found = players(model, x)
    refusing = SimpleNamespace(mode=Signals(found).mode)
    assert SynFlow()(found, refusing).shape == (13,)  # type: ignore[arg-type]
