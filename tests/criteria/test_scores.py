"""Scores: numbers worked by hand, and one suite of obligations for whatever the registry holds."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from secateurs.criteria import SCORES, Magnitude, Score, Taylor
from secateurs.errors import RunError
from secateurs.partition import players
from secateurs.signals import Signals

INDEPENDENT = {"random"}  # scores that look at nothing: they have nothing to be equivariant to


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


def _scored(score: Score, model: nn.Module, x: Tensor, granularity: str = "channel", seed: int = 0) -> Tensor:
    """Scores under the loss f², of one batch."""
    found = players(model, x[:2], granularity)
    y = torch.zeros(len(x), dtype=torch.long)
    return score(found, Signals(found, [(x, y)], loss=_squares, generator=torch.Generator().manual_seed(seed)))


def test_magnitude_by_hand() -> None:
    """Row norms, biases left out: √(9+16) = 5, √4 = 2. Single weights: |w|."""
    model = _net()
    x = torch.ones(2, 2)
    assert _scored(Magnitude(), model, x).tolist() == [5.0, 2.0]
    assert _scored(Magnitude(), model, x, "weight").tolist() == [3.0, 4.0, 0.0, 2.0, 2.0, 5.0]


def test_magnitude_adds_tied_producers_in_squares() -> None:
    """Two convolutions into one sum: filter norms 3 and 4 make 5."""

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = (nn.Conv2d(i, o, 1, bias=False) for i, o in ((1, 2), (1, 2), (2, 1)))

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.a(x) + self.b(x))

    model = Sum()
    with torch.no_grad():
        model.a.weight.copy_(torch.tensor([3.0, 1.0]).view(2, 1, 1, 1))
        model.b.weight.copy_(torch.tensor([4.0, 0.0]).view(2, 1, 1, 1))
        model.out.weight.fill_(100.0)
    assert _scored(Magnitude(), model, torch.ones(2, 1, 2, 2)).tolist() == [5.0, 1.0]


def test_taylor_by_hand() -> None:
    """x = (1, 1): h = (8, 1), f = 2·8 − 5·1 = 11, L = f², ∂L/∂h = 22·(2, −5).

    |⟨∂L/∂θ_g, θ_g⟩| = |∂L/∂h_g|·h_g while the ReLU is open: 44·8 = 352 and 110·1 = 110: |∂L/∂s_g| at s = 1.
    """
    model, x = _net(), torch.ones(1, 2)
    assert _scored(Taylor(), model, x).tolist() == pytest.approx([352.0, 110.0])
    # w·∂L/∂w: 44·(3, 4), −110·(0, 2), 22·(2·8, −5·1)
    assert _scored(Taylor(), model, x, "weight").tolist() == pytest.approx([132, 176, 0, 220, 352, 110])
    found = players(model, x)
    with pytest.raises(RunError, match="give batches"):
        Taylor()(found, Signals(found))


@pytest.fixture(params=sorted(SCORES))
def score(request: pytest.FixtureRequest) -> Score:
    return SCORES[request.param]()


def _example(hidden: int = 7) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 5), nn.Tanh(), nn.Linear(5, 2)
    ), torch.randn(6, 4)


@pytest.mark.parametrize("granularity", ["channel", "weight"])
class TestEveryScore:
    def test_one_finite_number_per_player(self, score: Score, granularity: str) -> None:
        model, x = _example()
        found = players(model, x[:2], granularity)
        values = _scored(score, model, x, granularity)
        assert values.shape == (found.count,) and bool(values.isfinite().all()) and bool((values >= 0).all())
        assert SCORES[score.name] is type(score) and type(score).__doc__

    def test_inputs_are_untouched(self, score: Score, granularity: str) -> None:
        model, x = _example()
        model.eval()
        before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        _scored(score, model, x, granularity)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        assert torch.equal(random, torch.get_rng_state()) and not model.training
        assert all(p.grad is None and p.requires_grad for p in model.parameters())

    def test_equal_seeds_give_equal_scored(self, score: Score, granularity: str) -> None:
        model, x = _example()
        assert torch.equal(_scored(score, model, x, granularity), _scored(score, model, x, granularity))
        if score.name == "random":
            assert not torch.equal(_scored(score, model, x, granularity), _scored(score, model, x, granularity, 1))

    def test_renaming_neurons_renames_their_scored(self, score: Score, granularity: str) -> None:
        if score.name in INDEPENDENT:
            pytest.skip("looks at no weights: there is nothing to rename")
        model, x = _example()
        order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
        renamed = copy.deepcopy(model)
        with torch.no_grad():
            renamed[0].weight.copy_(model[0].weight[order])
            renamed[0].bias.copy_(model[0].bias[order])
            renamed[2].weight.copy_(model[2].weight[:, order])
        before, after = (_scored(score, m, x, granularity) for m in (model, renamed))
        if granularity == "channel":
            expected = torch.cat([before[:7][order], before[7:]])
        else:
            a, b, c = before.split([28, 35, 10])
            expected = torch.cat([a.view(7, 4)[order].flatten(), b.view(5, 7)[:, order].flatten(), c])
        torch.testing.assert_close(after, expected)
