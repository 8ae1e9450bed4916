"""Layerwise repairs against the outputs before: by hand, against torch.linalg.lstsq, sequential, never worse."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateurs.recovery import BiasCorrection, Reconstruct, Recovery, Removal, Scale

from .networks import NETWORKS, cut, labelled, masked, network, removed
from .test_reweight import outputs_of, twins, without

EXACT = 1e-13


def pair() -> tuple[nn.Module, nn.Module, Removal, Tensor]:
    """Two hidden neurons that return a_1 = (1, 2, 3) and a_2 = (1, 2, 4), read with 5 and 7 and a bias of 1; the second
    is cut. Before: y = (13, 25, 44)."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
        net[1].weight.copy_(torch.tensor([[5.0, 7.0]]))
        net[1].bias.fill_(1.0)
    x = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 4.0]]).double()
    return net, *without(net, {"0.weight": {0: [0]}, "1.weight": {1: [0]}}), x


def test_by_hand() -> None:
    """On a = (1, 2, 3): W = Σ(a − 2)(y − 82/3)/2 = 31/2, b = 82/3 − 31 = −11/3. At λ = 1 half of the change is taken:
    W = 5 + (31/2 − 5)/2 = 41/4, b = 82/3 − 41/2 = 41/6. Of the bias alone, b = 82/3 − 10 = 52/3. Of one factor,
    A = Σ⟨y − 1, 5a⟩/Σ(5a)² = (12 + 48 + 129)·5/(25·14) = 27/10."""
    _, small, removal, x = pair()
    for recovery, weight, bias in (
        (Reconstruct(EXACT), 15.5, -11 / 3), (Reconstruct(1.0), 10.25, 41 / 6), (BiasCorrection(), 5.0, 52 / 3),
        (Scale(), 13.5, 1.0),
    ):  # fmt: skip
        found = recovery(small, removal, labelled(x, 2))[1]
        assert (found.weight.item(), found.bias.item()) == (pytest.approx(weight), pytest.approx(bias)), recovery.name


def solution(x: Tensor, y: Tensor, bias: bool) -> tuple[Tensor, Tensor]:
    """Weights (outputs, inputs) and shifts, by lstsq."""
    wide = torch.cat([x, torch.ones(len(x), 1).double()], 1) if bias else x
    found = torch.linalg.lstsq(wide, y, driver="gelsd").solution
    return found[: x.shape[1]].T, found[x.shape[1]] if bias else torch.zeros(y.shape[1]).double()


def unfolded(module: nn.Module, x: Tensor) -> Tensor:
    if isinstance(module, nn.Linear):
        return x
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    x = F.pad(x, module._reversed_padding_repeated_twice, mode=mode)
    return F.unfold(x, module.kernel_size, module.dilation, stride=module.stride).mT.flatten(0, 1)


@pytest.mark.parametrize("kind", ["mlp", "convs"])
@pytest.mark.parametrize("how", ["cut", "masked"])
def test_every_reader_against_lstsq(kind: str, how: str) -> None:
    """In the order of running, each on what the repaired network delivers to it: patches, groups, rows of a mask."""
    net, x = network(kind)
    small, removal = removed(net, x, how)
    repaired = Reconstruct(1e-11)(small, removal, labelled(x))
    for path, module in net.named_modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        now = repaired.get_submodule(path)
        (given, out), (_, before) = outputs_of(repaired, path, x), outputs_of(net, path, x)
        axis = -1 if isinstance(module, nn.Linear) else 1
        index = removal.indices(f"{path}.weight", 0)
        before = before if index is None else before.index_select(axis, index)
        rows, target, got = unfolded(now, given), *(t.movedim(axis, -1).flatten(0, -2) for t in (before, out))
        groups = getattr(now, "groups", 1)
        per, width = target.shape[1] // groups, rows.shape[1] // groups
        for o in range(target.shape[1]):
            mine = rows[:, o // per * width :][:, :width]
            if removal.masks:
                mine = mine[:, removal.masks[f"{path}.weight"][o].flatten()]
            weight, shift = solution(mine, target[:, o : o + 1], now.bias is not None)
            best = (target[:, o] - mine @ weight[0] - shift).square().sum()
            assert (target[:, o] - got[:, o]).square().sum() <= best * (1 + 1e-6) + 1e-16, (path, o)


@pytest.mark.parametrize("kind", ["linear", "flattened", "convolution"])
def test_what_is_a_combination_of_what_stays_is_restored(kind: str) -> None:
    net, x, kept = twins(kind)
    small, removal = without(net, kept)
    repaired = Reconstruct(EXACT)(small, removal, labelled(x))
    with torch.no_grad():
        assert (small(x) - net(x)).abs().max() > 1e-2
        assert (repaired(x) - net(x)).abs().max() < 1e-10


def test_whole_groups_and_depthwise() -> None:
    """A pointwise convolution behind a depthwise one whose channels come twice: the cut takes whole groups."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 6, 1), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.ReLU(), nn.Conv2d(6, 3, 1)
    ).double()
    x = torch.randn(20, 2, 5, 5).double()
    with torch.no_grad():
        for parameter in (*net[0].parameters(), *net[1].parameters()):
            parameter[3:] = parameter[:3]
    kept = {f"{i}.{name}": {0: [0, 1, 2]} for i in (0, 1) for name in ("weight", "bias")}
    small, removal = without(net, {**kept, "3.weight": {1: [0, 1, 2]}}, {"1": {"groups": 3}})
    assert small[1].groups == 3
    repaired = Reconstruct(EXACT)(small, removal, labelled(x))
    with torch.no_grad():
        assert (repaired(x) - net(x)).abs().max() < 1e-10


def errors(net: nn.Module, model: nn.Module, removal: Removal, x: Tensor) -> dict[str, float]:
    """Of every reader, Σ over the data of the squared error of what it returns in ``model``."""
    found = {}
    for path, module in net.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)) and not path.endswith("out_proj"):
            (_, out), (_, before) = outputs_of(model, path, x), outputs_of(net, path, x)
            index = removal.indices(f"{path}.weight", 0)
            axis = -1 if isinstance(module, nn.Linear) else 1
            before = before if index is None else before.index_select(axis, index)
            found[path] = float((out - before).square().sum())
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([kind for kind in NETWORKS if kind != "repeated"]), st.sampled_from(["cut", "masked"]),
    st.integers(0, 1000),
    st.sampled_from([Reconstruct(1e-10), Reconstruct(), Reconstruct(10.0), BiasCorrection(), Scale()]),
    st.sampled_from([1, 3, 40]),
)  # fmt: skip
def test_never_worse_than_leaving_a_reader(kind: str, how: str, seed: int, recovery: Recovery, examples: int) -> None:
    """Each against itself with the weights as they were, fed by the mended readers upstream."""
    net, x = network(kind)
    x = x[:examples]
    small, removal = removed(net, x, how, seed)
    repaired = recovery(small, removal, labelled(x, 16))
    mended = errors(net, repaired, removal, x)
    for path in mended:
        left = copy.deepcopy(repaired)
        left.get_submodule(path).load_state_dict(small.get_submodule(path).state_dict())
        plain = errors(net, left, removal, x)[path]
        assert mended[path] <= plain * (1 + 1e-9) + 1e-18, path


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = self.again(x)
        return x


@pytest.mark.parametrize("recovery", [Reconstruct(1e-10), BiasCorrection(), Scale()], ids=lambda r: r.name)
@pytest.mark.parametrize("seed", range(6))
def test_a_reader_that_feeds_itself_is_not_made_worse(seed: int, recovery: Recovery) -> None:
    """Solved on what it was given before the change; measured on what it then gives itself."""
    torch.manual_seed(seed)
    net, x = Loop().double(), torch.randn(40, 4).double()
    with torch.no_grad():
        net.again.weight.mul_(3)
    small, removal = masked(net, seed)
    repaired = recovery(small, removal, labelled(x))

    def returned(model: nn.Module) -> Tensor:
        seen = []
        handle = model.again.register_forward_hook(lambda m, args, out: seen.append(out.detach()))
        model(x)
        handle.remove()
        return torch.stack(seen)

    before, plain, mended = (returned(model) for model in (net, small, repaired))
    assert (mended - before).square().sum() <= (plain - before).square().sum() * (1 + 1e-9)


def test_a_shared_weight_stays_shared() -> None:
    net, x = network("repeated")
    small, removal = cut(net, x)
    repaired = Reconstruct()(small, removal, labelled(x))
    assert repaired.left.weight is repaired.right.weight
    assert not torch.equal(repaired.left.weight, small.left.weight)


def test_means_are_what_they_were() -> None:
    net, x = network("convs")
    small, removal = cut(net, x)
    repaired = BiasCorrection()(small, removal, labelled(x))
    for path in ("3", "5", "7", "9", "12"):
        (_, out), (_, before) = outputs_of(repaired, path, x), outputs_of(net, path, x)
        index = removal.indices(f"{path}.weight", 0)
        axes = (0,) if out.dim() == 2 else (0, 2, 3)
        before = before if index is None else before.index_select(1, index)
        assert torch.allclose(out.mean(axes), before.mean(axes), atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(repaired[0].parameters(), small[0].parameters()))


def test_rows_are_a_limit_and_a_seed_chooses_them() -> None:
    net, x = network("convs")
    small, removal = cut(net, x)
    found = [Reconstruct(rows=300, seed=seed)(small, removal, labelled(x))[3].weight for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    whole = Reconstruct()(small, removal, labelled(x))[3].weight
    assert (found[0] - whole).norm() < (small[3].weight - whole).norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes(dtype: torch.dtype) -> None:
    net, x = network("mlp", dtype=dtype)
    small, removal = cut(net, x)
    repaired = Reconstruct()(small, removal, labelled(x))
    with torch.no_grad():
        before, after = ((m(x) - net(x)).float().square().sum() for m in (small, repaired))
    assert after < before and repaired[0].weight.dtype == dtype
