"""DIVNET's reweighting: by hand, against torch.linalg.lstsq on gathered activations, and what it never does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateurs.recovery import Removal, Reweight, ReweightIntercept
from secateurs.structure import Surgery, replay

from .networks import NETWORKS, labelled, masked, network, removed


def without(
    net: nn.Module, kept: dict[str, dict[int, list[int]]], attributes: dict[str, dict[str, Any]] | None = None
) -> tuple[nn.Module, Removal]:
    """The network with these indices only."""
    named = dict(net.named_parameters())
    shapes = {name: list(named[name].shape) for name in kept}
    surgery = Surgery(kept=kept, shapes=shapes, attributes=attributes or {})
    return replay(copy.deepcopy(net), surgery), Removal(net, surgery)


def outputs_of(net: nn.Module, path: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a module is given and returns."""
    seen = []
    handle = net.get_submodule(path).register_forward_hook(lambda m, args, out: seen.append((args[0], out)))
    with torch.no_grad():
        net(x)
    handle.remove()
    ((given, out),) = seen
    return given, out


def test_by_hand() -> None:
    """Two hidden neurons with a_1 = (1, 2, 3) and a_2 = (1, 2, 4) over three examples. Without the second
    α = Σa_1·a_2/Σa_1² = 17/14, so w̃ = 5 + 17/14·7 = 27/2; with an intercept α = 3/2, c = 7/3 − 3 = −2/3, w̃ = 31/2 and
    b̃ = 1 − 14/3 = −11/3."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
        net[1].weight.copy_(torch.tensor([[5.0, 7.0]]))
        net[1].bias.fill_(1.0)
    x = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 4.0]]).double()
    small, removal = without(net, {"0.weight": {0: [0]}, "1.weight": {1: [0]}})
    plain, other = (kind()(small, removal, labelled(x, 2)) for kind in (Reweight, ReweightIntercept))
    assert plain[1].weight.item() == pytest.approx(13.5, rel=1e-9) and plain[1].bias.item() == 1.0
    assert other[1].weight.item() == pytest.approx(15.5, rel=1e-9)
    assert other[1].bias.item() == pytest.approx(-11 / 3, rel=1e-9)


@pytest.mark.parametrize("kind", [Reweight, ReweightIntercept])
def test_a_linear_reader_against_lstsq(kind: type[Reweight]) -> None:
    """α of every dropped activation by itself, on the activations of the network before; then the sum over them."""
    net, x = network("mlp")
    kept = [0, 2, 3, 5, 8]
    small, removal = without(net, {"0.weight": {0: kept}, "0.bias": {0: kept}, "2.weight": {1: kept}})
    repaired = kind()(small, removal, labelled(x))
    a, _ = outputs_of(net, "2", x)
    expected = net[2].weight[:, kept].detach().clone()
    for i in set(range(9)) - set(kept):  # this reader has no bias, so there is no intercept either
        alpha = torch.linalg.lstsq(a[:, kept], a[:, i : i + 1], driver="gelsd").solution.flatten()
        expected += alpha * net[2].weight[:, i : i + 1].detach()
    assert torch.allclose(repaired[2].weight, expected, atol=1e-7)
    assert torch.equal(repaired[0].weight, small[0].weight) and torch.equal(repaired[4].weight, small[4].weight)


def test_a_convolution_against_lstsq_by_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As planned, before it is measured."""
    monkeypatch.setattr("secateurs.recovery.reweight._measure", lambda pair, plans: None)
    net, x = network("conv1d")
    kept = [0, 3, 4]
    small, removal = without(net, {"0.weight": {0: kept}, "0.bias": {0: kept}, "2.weight": {1: kept}})
    a, _ = outputs_of(net, "2", x)
    channels = a.movedim(1, -1).flatten(0, 1)
    for kind in (Reweight, ReweightIntercept):
        weight, bias = net[2].weight[:, kept].detach().clone(), net[2].bias.detach().clone()
        known = channels[:, kept]
        if kind.intercept:
            known = torch.cat([known, torch.ones(len(known), 1).double()], 1)
        for i in (1, 2):
            alpha = torch.linalg.lstsq(known, channels[:, i : i + 1], driver="gelsd").solution.flatten()
            for j in range(3):
                weight[:, j] += alpha[j] * net[2].weight[:, i].detach()
            if kind.intercept:
                bias += alpha[3] * net[2].weight[:, i].detach().sum(1)
        repaired = kind()(small, removal, labelled(x))
        assert torch.allclose(repaired[2].weight, weight, atol=1e-7)
        assert torch.allclose(repaired[2].bias, bias, atol=1e-7)


@pytest.mark.parametrize("path", ["0", "3", "7", "9", "12"])
def test_single_weights_against_lstsq_by_row(path: str) -> None:
    """Of what every output lost on what it kept, over unfolded patches; per group. Some inputs are dead or alike, so
    it is what the weights return that is one and the same."""
    net, x = network("convs")
    small, removal = masked(net, share=0.3)
    repaired = Reweight()(small, removal, labelled(x))
    before, after = net.get_submodule(path), repaired.get_submodule(path)
    mask, (a, _) = removal.masks[f"{path}.weight"], outputs_of(net, path, x)
    groups = 1 if isinstance(before, nn.Linear) else before.groups
    if not isinstance(before, nn.Linear):
        mode = "constant" if before.padding_mode == "zeros" else before.padding_mode
        a = F.pad(a, before._reversed_padding_repeated_twice, mode=mode)
        a = F.unfold(a, before.kernel_size, before.dilation, stride=before.stride).mT.flatten(0, 1)
    width, per_group = a.shape[1] // groups, len(before.weight) // groups
    for o, (w, stays, found) in enumerate(zip(before.weight.detach(), mask, after.weight.detach())):
        mine = a[:, o // per_group * width :][:, :width]
        w, stays, found = w.flatten(), stays.flatten(), found.flatten()
        delta = torch.linalg.lstsq(
            mine[:, stays], mine[:, ~stays] @ w[~stays].unsqueeze(1), driver="gelsd"
        ).solution.flatten()
        assert torch.allclose(mine[:, stays] @ found[stays], mine[:, stays] @ (w[stays] + delta), atol=1e-8)
        assert not found[~stays].any()


def twins(kind: str) -> tuple[nn.Module, Tensor, dict[str, dict[int, list[int]]]]:
    """Every hidden unit twice, the copies scaled: what the second half says is a multiple of what the first does."""
    torch.manual_seed(3)
    if kind == "linear":
        net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).double()
        x, readers = torch.randn(30, 4).double(), ("0", "2")
    elif kind == "flattened":
        net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, 3)).double()
        x, readers = torch.randn(50, 2, 5, 5).double(), ("0", "3")
    else:
        net = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1, stride=2), nn.ReLU(),
            nn.Conv2d(5, 2, 2),
        ).double()  # fmt: skip
        x, readers = torch.randn(30, 2, 6, 6).double(), ("0", "2")
    first, second = (net.get_submodule(path) for path in readers)
    with torch.no_grad():
        scale = torch.tensor([0.5, 2.0, 3.0]).double()
        first.weight[3:] = first.weight[:3] * scale.view(-1, *[1] * (first.weight.dim() - 1))
        first.bias[3:] = first.bias[:3] * scale
    kept = {f"{readers[0]}.weight": {0: [0, 1, 2]}, f"{readers[0]}.bias": {0: [0, 1, 2]}}
    width = second.weight.shape[1] // 6
    kept[f"{readers[1]}.weight"] = {1: list(range(3 * width))}
    return net, x, kept


@pytest.mark.parametrize("kind", ["linear", "flattened", "convolution"])
@pytest.mark.parametrize("recovery", [Reweight, ReweightIntercept])
def test_what_is_a_combination_of_what_stays_is_restored(kind: str, recovery: type[Reweight]) -> None:
    """Duplicated neurons, the classic case: the function is that of before, borders included. The last network is fed
    by dead features too, and by features that determine each other, so normal equations have no full rank."""
    net, x, kept = twins(kind)
    small, removal = without(net, kept)
    repaired = recovery()(small, removal, labelled(x))
    with torch.no_grad():
        assert (small(x) - net(x)).abs().max() > 1e-2
        assert (repaired(x) - net(x)).abs().max() < 1e-10


def test_what_was_made_up_for_is_not_made_up_for_again() -> None:
    """A score's own repair, or another recovery: only what is missing is taken over."""
    net, x, kept = twins("linear")
    small, removal = without(net, kept)
    once = Reweight()(small, removal, labelled(x))
    twice = Reweight()(once, removal, labelled(x))
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(once.parameters(), twice.parameters()))


def loss(net: nn.Module, model: nn.Module, removal: Removal, x: Tensor) -> dict[str, Tensor]:
    """Σ over the data of the squared error of each output of each reader, on what it was given before the cut."""
    found = {}
    for path, module in net.named_modules():
        if not isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)) or path.endswith("out_proj"):
            continue
        try:
            now = model.get_submodule(path)
        except AttributeError:
            continue
        given, out = outputs_of(net, path, x)
        axis = -1 if isinstance(module, nn.Linear) else 1
        kept = removal.surgery.kept if removal.surgery else {}
        index = kept.get(f"{path}.weight", {})
        if 0 in index:
            out = out.index_select(axis, torch.tensor(index[0]))
        channels = index.get(1)
        groups = getattr(module, "groups", 1)
        if groups > 1:
            per = module.weight.shape[1]
            alive = sorted({i // (len(module.weight) // groups) for i in index.get(0, range(len(module.weight)))})
            channels = [g * per + j for g in alive for j in index.get(1, range(per))]
        if channels is not None:
            given = given.index_select(axis, torch.tensor(channels))
        with torch.no_grad():
            found[path] = (now(given) - out).square().movedim(axis, -1).flatten(0, -2).sum(0)
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([kind for kind in NETWORKS if kind != "repeated"]), st.sampled_from(["cut", "masked"]),
    st.integers(0, 1000), st.sampled_from([Reweight, ReweightIntercept]), st.sampled_from([1, 3, 40]),
)  # fmt: skip
def test_never_worse_than_plain_removal(
    kind: str, how: str, seed: int, recovery: type[Reweight], examples: int
) -> None:
    net, x = network(kind)
    x = x[:examples]
    small, removal = removed(net, x, how, seed)
    repaired = recovery()(small, removal, labelled(x, 16))
    plain, mended = loss(net, small, removal, x), loss(net, repaired, removal, x)
    for path in plain:
        assert bool((mended[path] <= plain[path] * (1 + 1e-9) + 1e-20).all()), path


def test_at_borders_an_output_that_would_be_worse_stays() -> None:
    """A wide border: the intercept, which is right inside, counts also where only zeros are read."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Conv1d(2, 2, 5, padding=4)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[[1.0]], [[0.0]]]))
        net[0].bias.copy_(torch.tensor([0.0, 1.0]))
        # The first output sums the constant channel up; the second reads it at both ends, with opposite signs.
        net[1].weight.zero_()[0, 1] = 1.0
        net[1].weight[1, 1, 0], net[1].weight[1, 1, 4] = 1.0, -1.0
    x = torch.randn(30, 1, 3).double()
    small, removal = without(net, {"0.weight": {0: [0]}, "0.bias": {0: [0]}, "1.weight": {1: [0]}})
    repaired = ReweightIntercept()(small, removal, labelled(x))
    shift = (repaired[1].bias - small[1].bias).detach()
    assert shift[1].abs() < 1e-9  # the constant cancels
    # 5 inside, but 1, 2, 3, 3, 3, 2, 1 over the seven positions: (5 − y)² adds up to more than y².
    assert shift[0] == 0
    assert loss(net, repaired, removal, x)["1"][0] == loss(net, small, removal, x)["1"][0]


def test_rows_are_a_limit() -> None:
    """A twentieth of the positions is enough where channels determine each other."""
    net, x, kept = twins("convolution")
    small, removal = without(net, kept)
    repaired = Reweight(rows=50)(small, removal, labelled(x))
    with torch.no_grad():
        assert (repaired(x) - net(x)).abs().max() < 1e-9


def test_readers_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where second moments of all do not fit, the data are read again."""
    net, x = network("convs")
    small, removal = masked(net)
    whole = Reweight()(small, removal, labelled(x))
    monkeypatch.setattr("secateurs.recovery.reweight.MEMORY", 1)
    pieces = Reweight()(small, removal, labelled(x))
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(whole.parameters(), pieces.parameters()))
