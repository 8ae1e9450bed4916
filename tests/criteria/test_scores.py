"""One suite of obligations for every score, granularity and kind of network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from secateurs.criteria import SCORES, Score
from secateurs.errors import RunError, StructureError
from secateurs.partition import Players
from secateurs.selection import fit_budget

from .networks import GRANULARITIES, NETS, batch, conv_bn, find, mlp, signals

INDEPENDENT = {"random"}  # scores that look at nothing: they have nothing to be equivariant to
DRAWN = {"random", "obd", "taylor2"}  # scores that draw something


def _defined(name: str, net: str, granularity: str) -> bool:
    return granularity in SCORES[name].granularities and not (name == "bn-scale" and net == "mlp")


CASES = [(s, n, g) for s in SCORES for n, (_, _, gs) in NETS.items() for g in gs if s != "bn-scale" or n == "conv"]
CASES = [case for case in CASES if _defined(*case)]


def _made(net: str, granularity: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Players, Tensor, Tensor]:
    build, shape, _ = NETS[net]
    model = build(dtype)
    x, y = batch(shape, dtype=dtype)
    return model, find(model, x, granularity), x, y


def _scored(name: str, found: Players, x: Tensor, y: Tensor, seed: int = 0) -> Tensor:
    return SCORES[name]()(found, signals(found, (x[:5], y[:5]), (x[5:], y[5:]), seed=seed, training=False))


@pytest.mark.parametrize(("name", "net", "granularity"), CASES)
class TestEveryScore:
    def test_one_finite_number_per_player(self, name: str, net: str, granularity: str) -> None:
        _, found, x, y = _made(net, granularity)
        values = _scored(name, found, x, y)
        assert values.shape == (found.count,) and values.is_floating_point() and bool(values.isfinite().all())
        assert not values.requires_grad and values.device == found.device
        if name not in ("apoz", "bn-scale"):  # which may be equal for many
            assert len(values.unique()) > 1

    def test_inputs_are_untouched(self, name: str, net: str, granularity: str) -> None:
        """Weights, buffers, modes of every module, gradients, random state, the batches, and the players."""
        model, found, x, y = _made(net, granularity)
        model.train()
        next(iter(model.children())).eval()
        kept = next(model.parameters())
        kept.grad = torch.ones_like(kept)
        modes = [m.training for m in model.modules()]
        before, random, inputs = copy.deepcopy(model.state_dict()), torch.get_rng_state(), x.clone()
        for training in (False, True):
            SCORES[name]()(found, signals(found, (x, y), training=training))
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        assert torch.equal(random, torch.get_rng_state()) and torch.equal(x, inputs)
        assert modes == [m.training for m in model.modules()]
        assert all(p.requires_grad and p.is_leaf for p in model.parameters())
        assert torch.equal(kept.grad, torch.ones_like(kept))
        assert all(p.grad is None for p in model.parameters() if p is not kept)
        assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())

    def test_equal_seeds_give_equal_scores(self, name: str, net: str, granularity: str) -> None:
        _, found, x, y = _made(net, granularity)
        first = _scored(name, found, x, y)
        assert torch.equal(first, _scored(name, found, x, y))
        if name not in DRAWN:
            assert torch.equal(first, _scored(name, found, x, y, seed=1))
        elif name == "random":
            assert not torch.equal(first, _scored(name, found, x, y, seed=1))

    def test_single_and_double_precision_agree(self, name: str, net: str, granularity: str) -> None:
        wide, narrow = (
            _scored(name, found, x, y)
            for _, found, x, y in (_made(net, granularity, dtype) for dtype in (torch.float64, torch.float32))
        )
        assert narrow.dtype == torch.float32 or name == "synflow"
        torch.testing.assert_close(narrow.double(), wide.double(), rtol=2e-3, atol=1e-5 * float(wide.abs().max()))

    def test_budgets_of_nothing_everything_and_any_count(self, name: str, net: str, granularity: str) -> None:
        _, found, x, y = _made(net, granularity)
        values = _scored(name, found, x, y)
        least = int(found.minimum.sum())
        assert bool(fit_budget(found, values, {"groups": found.count}).all())
        assert int(fit_budget(found, values, {"groups": least}).sum()) == least
        for count in {least + 1, (least + found.count) // 2, found.count - 1}:
            if least <= count <= found.count:
                assert int(fit_budget(found, values, {"groups": count}).sum()) == count


@pytest.mark.parametrize("granularity", ["channel", "weight"])
@pytest.mark.parametrize("name", SCORES)
def test_renaming_neurons_renames_their_scores(name: str, granularity: str) -> None:
    if name in INDEPENDENT or not _defined(name, "mlp", granularity):
        pytest.skip("looks at no weights, or is not defined here: there is nothing to rename")
    model, (x, y) = mlp(), batch((4,))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    renamed = copy.deepcopy(model)
    with torch.no_grad():
        renamed[0].weight.copy_(model[0].weight[order])
        renamed[0].bias.copy_(model[0].bias[order])
        renamed[2].weight.copy_(model[2].weight[:, order])
    # As many probes as players: curvatures are exact, and no sign is drawn for the one that is another's.
    before, after = (
        SCORES[name]()(found, signals(found, (x, y), probes=found.count))
        for found in (find(m, x, granularity) for m in (model, renamed))
    )
    if granularity == "channel":
        expected = torch.cat([before[:7][order], before[7:]])
    else:
        a, b, c = before.split([28, 35, 15])
        expected = torch.cat([a.view(7, 4)[order].flatten(), b.view(5, 7)[:, order].flatten(), c])
    torch.testing.assert_close(after, expected)


@pytest.mark.parametrize("name", [n for n in SCORES if n not in INDEPENDENT])
def test_renaming_channels_renames_their_scores(name: str) -> None:
    model, (x, y) = conv_bn(), batch((2, 5, 5))
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    renamed = copy.deepcopy(model)
    with torch.no_grad():
        renamed[0].weight.copy_(model[0].weight[order])
        renamed[3].weight.copy_(model[3].weight[:, order])
        for part in ("weight", "bias", "running_mean", "running_var"):
            getattr(renamed[1], part).copy_(getattr(model[1], part)[order])
    before, after = (
        SCORES[name]()(found, signals(found, (x, y), probes=found.count))
        for found in (find(m, x) for m in (model, renamed))
    )
    torch.testing.assert_close(after, torch.cat([before[:6][order], before[6:]]))


@pytest.mark.parametrize("name", SCORES)
def test_what_it_says_of_itself(name: str) -> None:
    score = SCORES[name]
    assert score.name == name and issubclass(score, Score) and not score.__abstractmethods__
    assert score.summary and score.source and score.cost and score.needs and (score.__doc__ or "").strip()
    assert set(score.granularities) <= set(GRANULARITIES) and score.granularities
    assert score.rounds >= 1 and score.calibration >= 1


@pytest.mark.parametrize("name", SCORES)
def test_what_it_is_not_defined_for_is_refused_by_name(name: str) -> None:
    for net, (build, shape, granularities) in NETS.items():
        for granularity in granularities:
            found = find(build(), batch(shape)[0], granularity)
            if granularity not in SCORES[name].granularities:
                with pytest.raises(StructureError, match=f"{name!r} is not defined at granularity {granularity!r}"):
                    SCORES[name]().require(found)
            elif _defined(name, net, granularity) and (name, net) != ("bn-scale", "residual"):
                SCORES[name]().require(found)


@pytest.mark.parametrize("name", [n for n, s in SCORES.items() if s.needs != "nothing"])
def test_data_that_are_missing_are_asked_for(name: str) -> None:
    x = batch((2, 5, 5))[0]
    found = find(conv_bn(), x)
    with pytest.raises(RunError, match="give batches"):
        SCORES[name]()(found, signals(found))


@pytest.mark.parametrize("name", [n for n, s in SCORES.items() if s.needs == "nothing"])
def test_who_needs_no_data_is_given_none(name: str) -> None:
    found = find(conv_bn(), batch((2, 5, 5))[0])
    assert SCORES[name]()(found, signals(found)).shape == (10,)
