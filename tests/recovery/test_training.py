"""Repairs by training, rewinding, and OBS: by hand and against references."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateurs.errors import DivergenceError, ModelError
from secateurs.recovery import Distill, Finetune, OBSCompensation, Removal, Rewind

from .networks import cut, labelled, masked, network, removed
from .test_reweight import without


# -- training ------------------------------------------------------------------------------------------------
def test_one_step_by_hand() -> None:
    """One step of SGD at the top of the schedule with Nesterov momentum: w − lr·(1 + 0.9)·∂L/∂w; here ∂L/∂w = 2(w − 3)
    with w = 1, so w = 1 + 0.1·1.9·4 = 1.76."""
    model = nn.Linear(1, 1, bias=False).double()
    model.weight.data.fill_(1.0)
    recovery = Finetune(1, 0.1, "sgd", loss=lambda model, x, y: (model(x) - y).square().mean())
    data = [(torch.ones(4, 1).double(), torch.full((4, 1), 3.0).double())]
    assert recovery(model, Removal(model), data).weight.item() == pytest.approx(1.76)


def test_a_mask_holds_through_momentum() -> None:
    net, x = network("mlp")
    small, removal = masked(net)
    for optimizer in ("adam", "sgd"):
        trained = Finetune(30, 0.05, optimizer)(small, removal, labelled(x))  # type: ignore[arg-type]
        for name, mask in removal.masks.items():
            weight = trained.get_parameter(name)
            assert not weight[~mask].any() and not torch.equal(weight, small.get_parameter(name))


def test_training_trains() -> None:
    net, x = network("convs")
    small, removal = cut(net, x)
    data = labelled(x)
    losses = [
        sum(F.cross_entropy(m(a), b).item() for a, b in data)
        for m in (small, Finetune(60, 0.01)(small, removal, data).eval())
    ]
    assert losses[1] < losses[0] * 0.7


def test_training_is_in_training_mode_and_frozen_parameters_stay() -> None:
    net, x = network("convs")
    small, removal = cut(net, x)
    small[0].weight.requires_grad_(False)
    trained = Finetune(3)(small, removal, labelled(x))
    assert not torch.equal(trained[1].running_mean, small[1].running_mean)
    assert torch.equal(trained[0].weight, small[0].weight) and not torch.equal(trained[3].weight, small[3].weight)
    small.requires_grad_(False)
    with pytest.raises(ModelError, match="nothing to train"):
        Finetune(3)(small, removal, labelled(x))


def test_distillation_at_full_weight_looks_at_no_label() -> None:
    net, x = network("mlp")
    small, removal = cut(net, x)
    data = labelled(x)
    other = [(a, torch.zeros_like(b)) for a, b in data]
    one, two = (Distill(20, 0.01, weight=1.0)(small, removal, d) for d in (data, other))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    half, other_half = (Distill(20, 0.01)(small, removal, d) for d in (data, other))
    assert not torch.equal(half[4].weight, other_half[4].weight)

    def apart(model: nn.Module) -> Tensor:
        return F.kl_div(F.log_softmax(model(x), 1), F.softmax(net(x), 1), reduction="batchmean")

    assert apart(one) < apart(small)


def test_a_loss_that_is_not_finite() -> None:
    net, x = network("mlp")
    small, removal = cut(net, x)
    with pytest.raises(DivergenceError, match="finetune did not converge"):
        Finetune(5)(small, removal, labelled(x / 0))


# -- rewinding -----------------------------------------------------------------------------------------------
def test_rewinding_is_the_cut_of_the_earlier_state() -> None:
    net, x = network("convs")
    early = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in early.parameters():
            parameter.add_(1.0)
    for how in ("cut", "masked"):
        small, removal = removed(net, x, how)
        found = Rewind(early.state_dict())(small, removal)
        for name, value in found.named_parameters():
            then = early.get_parameter(name)
            if removal.surgery is not None:
                then = removal.surgery.cut(name, then)
            assert torch.equal(value, then * removal.masks[name] if name in (removal.masks or {}) else then)
    assert torch.equal(found[1].running_mean, early[1].running_mean)


def test_what_cannot_be_rewound_to() -> None:
    net, x = network("convs")
    small, removal = cut(net, x)
    state = net.state_dict()
    with pytest.raises(ModelError, match=r"no '3\.weight'"):
        Rewind({name: value for name, value in state.items() if name != "3.weight"})(small, removal)
    with pytest.raises(ModelError, match=r"give a state of that network"):
        Rewind({**state, "3.weight": torch.zeros(99, 99, 3, 3)})(small, removal)
    found = Rewind({name: value for name, value in state.items() if "running" not in name})(small, removal)
    assert torch.equal(found[1].running_mean, small[1].running_mean)


# -- OBS -----------------------------------------------------------------------------------------------------
def test_obs_by_hand() -> None:
    """Two weights w = (1, 2) and two examples with gradients (1, 1) and (1, 0) (a loss that is linear in the output):
    GGᵀ/N = [[1, ½], [½, ½]], of mean diagonal ¾. At damping ⅔ λ = ½, and without the second weight
    δ_1 = H_11⁻¹H_12·w_2 = ½·2/(1 + ½) = ⅔, so w_1 = 5/3."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
        net[1].weight.copy_(torch.tensor([[1.0, 2.0]]))
    small, removal = without(net, {"0.weight": {0: [0]}, "1.weight": {1: [0]}})
    data = [(torch.tensor([[1.0, 1.0], [1.0, 0.0]]).double(), torch.zeros(2))]
    found = OBSCompensation(2 / 3, loss=lambda model, x, y: model(x).mean())(small, removal, data)
    assert found[1].weight.item() == pytest.approx(5 / 3)


@pytest.mark.parametrize("kind", ["mlp", "convs"])
@pytest.mark.parametrize("how", ["cut", "masked"])
def test_obs_against_the_dense_hessian(kind: str, how: str) -> None:
    """H_KK⁻¹H_KQ·w_Q with H written out, for every reader, by gradients of single examples."""
    net, x = network(kind, 12)
    small, removal = removed(net, x, how)
    found = OBSCompensation(0.5)(small, removal, labelled(x))
    for path, module in net.named_modules():
        weight = f"{path}.weight"
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        outputs, inputs = (removal.indices(weight, axis) for axis in (0, 1))
        rows = torch.arange(len(module.weight)) if outputs is None else outputs
        columns = torch.arange(module.weight.shape[1]) if inputs is None else inputs
        there = torch.zeros_like(module.weight, dtype=torch.bool)
        there[rows.unsqueeze(1), columns] = removal.masks[weight] if removal.masks else True
        gone = torch.zeros_like(there)
        gone[rows] = ~there[rows]
        grads = torch.stack([
            torch.autograd.grad(F.cross_entropy(net(a[i : i + 1]), b[i : i + 1]), module.weight)[0].flatten()
            for a, b in labelled(x) for i in range(len(a))
        ])  # fmt: skip
        hessian = grads.T @ grads / len(grads)
        hessian += 0.5 * hessian.diagonal().mean() * torch.eye(len(hessian))
        k, q = there.flatten(), gone.flatten()
        delta = torch.linalg.solve(hessian[k][:, k], hessian[k][:, q] @ module.weight.detach().flatten()[q])
        expected = torch.zeros_like(module.weight)
        expected[there] = module.weight.detach()[there] + delta
        got = found.get_submodule(path).weight.detach()
        assert torch.allclose(got, expected[rows.unsqueeze(1), columns], atol=1e-9), path


def test_obs_looks_at_the_first_examples_and_at_some_readers_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = network("mlp")
    small, removal = cut(net, x)
    data = labelled(x)
    other = [(a[: 20 - 8 * i], b[: 20 - 8 * i]) for i, (a, b) in enumerate(data[:3])]
    first, same = (OBSCompensation(examples=n)(small, removal, d) for n, d in ((20, data), (99, other)))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters()))
    monkeypatch.setattr("secateurs.recovery.obs.MEMORY", 1)
    pieces = OBSCompensation(examples=20)(small, removal, data)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), pieces.parameters()))
