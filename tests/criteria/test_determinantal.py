"""Determinantal selection: kernels of activations in loops, scores by enumeration, draws with the law of the k-DPP."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from subsets import included, law, p_value
from torch import Tensor, nn

from secateurs.criteria import Determinant, Importance, ImportanceIn, ImportanceInSigned, ImportanceSigned
from secateurs.criteria.determinantal import shared
from secateurs.errors import DataError, StructureError
from secateurs.partition import Players, players
from secateurs.signals import Signals
from secateurs.signals.patches import patches

from .networks import batch, find, mlp, residual, signals


def _gaussian(columns: Tensor, beta: float | None = None) -> np.ndarray:
    """exp(−β‖a_s − a_t‖²) + 0.01·I of the columns, pair by pair."""
    rows, n = columns.shape
    beta = 10 / rows if beta is None else beta
    out = np.zeros((n, n))
    for s in range(n):
        for t in range(n):
            out[s, t] = math.exp(-beta * float(((columns[:, s] - columns[:, t]) ** 2).sum())) + 0.01 * (s == t)
    return out


def _keep(found: Players, *counts: int) -> Tensor:
    """The first so many of every layer."""
    keep = torch.zeros(found.count, dtype=torch.bool)
    for layer, count in zip(found.layers, counts):
        keep[layer.start : layer.start + count] = True
    return keep


def _hidden(model: nn.Sequential, x: Tensor, depth: int) -> Tensor:
    return model[:depth](x).detach()


class TestChannels:
    def test_scores_are_inclusion_probabilities_of_what_readers_are_given(self) -> None:
        model, (x, y) = mlp(), batch((4,))
        found = find(model, x)
        scores = Determinant()(found, signals(found, (x[:5], y[:5]), (x[5:], y[5:]), training=False))
        for layer, depth in zip(found.layers, (2, 4)):
            expected = included(law(_gaussian(_hidden(model, x, depth))), layer.size)
            assert scores[layer.start : layer.stop].tolist() == pytest.approx(expected, rel=1e-6)

    def test_the_linear_kernel_is_of_what_producers_return(self) -> None:
        model, (x, y) = mlp(), batch((4,))
        found = find(model, x)
        scores = Determinant("linear")(found, signals(found, (x, y)))
        for layer, depth in zip(found.layers, (1, 3)):
            h = _hidden(model, x, depth)
            assert scores[layer.start : layer.stop].tolist() == pytest.approx(
                included(law((h.T @ h / len(h)).numpy()), layer.size), rel=1e-6
            )

    def test_positions_count_as_examples_also_where_they_are_flattened(self) -> None:
        torch.manual_seed(0)
        head = [nn.Flatten(), nn.Linear(4 * 9, 3)]
        model = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.Tanh(), *head).double()
        x, y = batch((2, 5, 5))
        found = find(model, x)
        scores = Determinant(beta=0.2)(found, signals(found, (x, y)))
        for layer, depth in zip(found.layers, (2, 4)):
            seen = _hidden(model, x, depth).movedim(1, -1).reshape(-1, layer.size)
            assert len(seen) == 9 * 9
            expected = included(law(_gaussian(seen, 0.2)), layer.size)
            assert scores[layer.start : layer.stop].tolist() == pytest.approx(expected, rel=1e-6)

    def test_several_readers_of_a_residual_stream(self) -> None:
        """The stream is read by three convolutions and, pooled, by the output: all of it together is information."""
        model, (x, y) = residual(), batch((2, 5, 5))
        model.eval()
        found = find(model, x)
        scores = Determinant()(found, signals(found, (x, y)))
        stream, seen = model[:2](x), []
        for block in model[2:5]:
            seen.append(stream.detach().movedim(1, -1).reshape(-1, 4))
            stream = block(stream)
        seen.append(model[5:7](stream).detach())
        assert scores.tolist() == pytest.approx(included(law(_gaussian(torch.cat(seen))), 4), rel=1e-6)

    def test_twins_share_a_place(self) -> None:
        """Equal units: each is included half as often, as nearly as ε lets it, and they are hardly ever drawn both."""
        model, (x, y) = mlp(), batch((4,))
        with torch.no_grad():
            model[0].weight[1] = model[0].weight[0]
            model[0].bias[1] = model[0].bias[0]
        found, both = find(model, x), 0
        given = signals(found, (x, y))
        for _ in range(60):
            kept = Determinant().settle(found, given, _keep(found, 3, 2))
            both += bool(kept[0] and kept[1])
        kernel = _gaussian(_hidden(model, x, 2))
        assert kernel[0, 1] == 1.0
        chance = sum(p for s, p in law(kernel, 3).items() if {0, 1} <= set(s))
        assert chance < 0.03 and both <= 60 * chance + 4 * math.sqrt(60 * chance)

    @pytest.mark.parametrize("kernel", ["gaussian", "linear"])
    def test_who_stays_has_the_law_of_the_k_dpp(self, kernel: str) -> None:
        model, (x, y) = mlp(), batch((4,))
        found = find(model, x)
        given, drawn = signals(found, (x, y), seed=3), []
        for _ in range(250):
            kept = Determinant(kernel).settle(found, given, _keep(found, 3, 2))
            assert found.mass(kept.float()).tolist() == [3, 2]
            drawn.append(tuple(np.flatnonzero(kept[:7].numpy()).tolist()))
        h = _hidden(model, x, 1)
        L = (h.T @ h / len(h)).numpy() if kernel == "linear" else _gaussian(_hidden(model, x, 2))
        assert p_value(drawn, law(L, 3)) > 1e-3
        assert p_value(drawn, law(np.eye(7), 3)) < 1e-3  # and not that of a random choice

    def test_equal_seeds_draw_equally(self) -> None:
        model, (x, y) = mlp(), batch((4,))
        found = find(model, x)
        first, again, other = (
            Determinant().settle(found, signals(found, (x, y), seed=s), _keep(found, 4, 2)) for s in (0, 0, 5)
        )
        assert torch.equal(first, again) and not torch.equal(first, other)

    def test_the_mode_is_greedy(self) -> None:
        model, (x, y) = mlp(), batch((4,))
        found = find(model, x)
        kept = Determinant(draw="map").settle(found, signals(found, (x, y)), _keep(found, 3, 5))
        L, taken = _gaussian(_hidden(model, x, 2)), []
        for _ in range(3):
            gains = {i: np.linalg.det(L[np.ix_([*taken, i], [*taken, i])]) for i in range(7) if i not in taken}
            taken.append(max(gains, key=lambda i: (round(gains[i], 12), -i)))
        assert kept[:7].nonzero().flatten().tolist() == sorted(taken) and bool(kept[7:].all())

    def test_everything_and_the_least(self) -> None:
        model, (x, y) = mlp(), batch((4,))
        found = find(model, x)
        for counts in ((7, 5), (1, 1), (7, 1)):
            for score in (Determinant(), Determinant("linear", draw="map")):
                kept = score.settle(found, signals(found, (x, y)), _keep(found, *counts))
                assert found.mass(kept.float()).tolist() == list(counts)


class TestEdges:
    def test_scores_of_a_layer_in_loops(self) -> None:
        """Over each neuron's own edges: information w_ji·x_j on every input."""
        model, (x, y) = mlp(), batch((4,))
        found = find(model, x, "weight")
        scores = Determinant()(found, signals(found, (x, y)))
        given = {0: x, 2: _hidden(model, x, 2), 4: _hidden(model, x, 4)}
        for layer, (module, seen) in zip(found.layers, given.items()):
            rows = scores[layer.start : layer.stop].view(model[module].weight.shape)
            for w, row in zip(model[module].weight.detach(), rows):
                assert row.tolist() == pytest.approx(included(law(_gaussian(seen * w)), len(w)), rel=1e-6)

    @pytest.mark.parametrize("groups", [1, 2])
    def test_a_convolution_s_edges_read_patches(self, groups: int) -> None:
        torch.manual_seed(0)
        conv = nn.Conv2d(2, 4, 2, stride=2, padding=1, dilation=1, groups=groups, bias=False).double()
        model = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).double()
        x, y = batch((2, 5, 5), count=4)
        found = players(model, x[:2], "weight", ignore=["4"])
        scores = Determinant(beta=0.05)(found, Signals(found, [(x, y)])).view(4, -1)
        unfolded = nn.functional.unfold(x, 2, padding=1, stride=2).transpose(1, 2).reshape(-1, groups, 8 // groups)
        for i, (w, row) in enumerate(zip(conv.weight.detach().flatten(1), scores)):
            seen = unfolded[:, i * groups // 4] * w
            assert row.tolist() == pytest.approx(included(law(_gaussian(seen, 0.05)), len(w)), rel=1e-6)

    @pytest.mark.parametrize("draw", ["sample", "map"])
    def test_every_neuron_keeps_its_share(self, draw: str) -> None:
        """17 of 28 edges into 7 neurons: 3, 3, 3, then 2 each."""
        model, (x, y) = mlp(), batch((4,))
        found = find(model, x, "weight")
        for kernel in ("gaussian", "linear"):
            kept = Determinant(kernel, draw=draw).settle(found, signals(found, (x, y)), _keep(found, 17, 35, 5))
            assert kept[:28].view(7, 4).sum(1).tolist() == [3, 3, 3, 2, 2, 2, 2]
            assert bool(kept[28:63].all()) and kept[63:].view(3, 5).sum(1).tolist() == [2, 2, 1]

    def test_every_neuron_draws_by_its_own_kernel(self) -> None:
        model, (x, y) = mlp(), batch((4,))
        found = find(model, x, "weight")
        given, drawn = signals(found, (x, y), seed=1), []
        for _ in range(150):
            drawn.append(Determinant().settle(found, given, _keep(found, 14, 7, 3))[:28].view(7, 4))
        for i in (0, 3, 6):
            L = _gaussian(x * model[0].weight[i].detach())
            assert p_value((tuple(np.flatnonzero(d[i].numpy()).tolist()) for d in drawn), law(L, 2)) > 1e-3

    def test_dead_inputs_and_dead_neurons(self) -> None:
        """Constant rows: a neuron whose weights are zero, an input that is always zero. Nothing breaks down."""
        model, (x, y) = mlp(), batch((4,))
        x[:, 0] = 0
        with torch.no_grad():
            model[0].weight[2] = 0
        found = find(model, x, "weight")
        for kernel in ("gaussian", "linear"):
            given = signals(found, (x, y))
            assert bool(Determinant(kernel)(found, given).isfinite().all())
            kept = Determinant(kernel).settle(found, given, _keep(found, 21, 7, 3))
            assert kept[:28].view(7, 4).sum(1).tolist() == [3] * 7


class TestWhatIsRefused:
    def test_modules_and_widths(self) -> None:
        wide = players(nn.Sequential(nn.Linear(5000, 2), nn.ReLU(), nn.Linear(2, 1)), torch.randn(2, 5000), "weight")
        with pytest.raises(StructureError, match=r"'dpp'.*0\.weight have 5,000, more than 4,096; leave it whole"):
            Determinant().require(wide)
        upwards = nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 1, 1))
        with pytest.raises(StructureError, match=r"'dpp'.*0\.weight is of a ConvTranspose2d; leave it whole"):
            Determinant().require(players(upwards, torch.randn(2, 2, 4, 4), "weight"))

    @pytest.mark.parametrize("granularity", ["channel", "weight"])
    def test_activations_that_are_not_finite(self, granularity: str) -> None:
        model, (x, y) = mlp(), batch((4,))
        found = find(model, x, granularity)
        x[0, 0] = math.nan
        with pytest.raises(DataError, match=r"activations at 0.* are not finite"):
            Determinant()(found, signals(found, (x, y)))


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(4, 3),
        nn.Conv1d(4, 6, 3, padding=2, stride=2, dilation=2, groups=2),
        nn.Conv2d(4, 6, (3, 2), padding=(1, 0), stride=(2, 1), dilation=(1, 2), groups=2),
        nn.Conv2d(4, 2, 3, padding="same", padding_mode="reflect"),
        nn.Conv3d(4, 2, 2, stride=2),
    ],
)
def test_patches_are_what_the_weight_multiplies(module: nn.Module) -> None:
    module = module.double()
    spatial = module.weight.dim() - 2
    x = torch.randn(5, *([6] * (spatial == 0)), 4, *[7] * spatial).double()
    x = x if spatial else torch.randn(5, 6, 4).double()
    rows = torch.cat(list(patches(module, x)), 1)
    groups = len(rows)
    weight = module.weight.flatten(1).view(groups, -1, rows.shape[2])
    y = (rows @ weight.mT).movedim(0, 1).flatten(1) + module.bias
    expected = module(x)
    expected = expected.movedim(1, -1) if spatial else expected
    torch.testing.assert_close(y, expected.reshape(-1, expected.shape[-1]))


def test_shares() -> None:
    assert [shared(k, 3).tolist() for k in (0, 1, 5, 6)] == [[0, 0, 0], [1, 0, 0], [2, 2, 1], [2, 2, 2]]


class TestImportance:
    def _scored(self, score, model: nn.Module, x: Tensor) -> list[float]:
        found = players(model, x)
        return score()(found, Signals(found)).tolist()

    def test_by_hand(self) -> None:
        """Rows (3, −4) and (0, 2) are read by (2, −5) and (−4, −1): means of what leaves, and of what enters."""
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
        model[0].weight.data = torch.tensor([[3.0, -4.0], [0.0, 2.0]])
        model[2].weight.data = torch.tensor([[2.0, -5.0], [-4.0, -1.0]])
        x = torch.ones(2, 2)
        assert self._scored(Importance, model, x) == [3.0, 3.0]
        assert self._scored(ImportanceSigned, model, x) == [-1.0, -3.0]
        assert self._scored(ImportanceIn, model, x) == [3.5, 1.0]
        assert self._scored(ImportanceInSigned, model, x) == [-0.5, 1.0]

    def test_readers_of_every_kind_in_loops(self) -> None:
        """A convolution, a transposed one, and a linear map behind a flattened feature map."""
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 4, 1), nn.Conv2d(4, 5, 2), nn.ConvTranspose2d(5, 3, 2), nn.Flatten()]
        model = nn.Sequential(*layers, nn.Linear(3 * 16, 2)).double()
        plain, transposed, linear = (model[i].weight.detach() for i in (1, 2, 4))
        rows = [plain[:, i] for i in range(4)] + [transposed[i] for i in range(5)]
        rows += [linear[:, 16 * i : 16 * i + 16] for i in range(3)]
        x = torch.randn(2, 1, 4, 4).double()
        assert self._scored(Importance, model, x) == pytest.approx([float(r.abs().mean()) for r in rows])
        assert self._scored(ImportanceSigned, model, x) == pytest.approx([float(r.mean()) for r in rows])
        made = [*model[0].weight.detach(), *plain, *transposed.transpose(0, 1)]
        assert self._scored(ImportanceIn, model, x) == pytest.approx([float(r.abs().mean()) for r in made])

    def test_several_readers_count_by_their_mean(self) -> None:
        model, (x, _) = residual(), batch((2, 5, 5))
        found = players(model, x[:2])
        readers = [model[i].conv.weight.detach().abs().mean((0, 2, 3)) for i in (2, 3, 4)]
        readers.append(model[7].weight.detach().abs().mean(0))
        torch.testing.assert_close(Importance()(found, Signals(found)), torch.stack(readers).mean(0))

    def test_channels_at_the_same_place_of_every_group_are_one_player(self) -> None:
        """Read by a grouped convolution only: a player is a channel of each group, and so is its information."""
        torch.manual_seed(0)
        last = nn.Conv2d(6, 4, 1, groups=2)
        model = nn.Sequential(nn.Conv2d(2, 6, 1), nn.Tanh(), last, nn.Flatten()).double()
        x, y = batch((2, 2, 2))
        found = find(model, x)
        first = found.layers[0]
        assert first.size == 3
        expected = last.weight.detach().abs().view(2, 2, 3).mean((0, 1))
        scores = Importance()(found, Signals(found))
        torch.testing.assert_close(scores[first.start : first.stop], expected)
        seen = model[:2](x).detach().movedim(1, -1).unflatten(-1, (2, 3)).reshape(-1, 3)
        law_of = included(law(_gaussian(seen)), 3)
        scores = Determinant()(found, signals(found, (x, y)))
        assert scores[first.start : first.stop].tolist() == pytest.approx(law_of, rel=1e-6)

    def test_channels_that_nothing_reads(self) -> None:
        last = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.LayerNorm(4))
        found = players(last, torch.randn(2, 2))
        if any(layer.name == "2" for layer in found.layers):
            with pytest.raises(StructureError, match="'importance': 2 is read by no linear"):
                Importance().require(found)
