"""One suite of obligations for whatever the registry holds, on every kind of reader, cut or masked."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateurs.errors import DataError
from secateurs.recovery import RECOVERIES, Recovery, Removal

from .networks import NETWORKS, labelled, network, removed


def quick(name: str) -> Recovery:
    """As it comes, but for the number of steps."""
    kind = RECOVERIES[name]
    return kind(**{"steps": 12} if "steps" in inspect.signature(kind).parameters else {})  # type: ignore[arg-type]


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that a recovery is to leave alone."""
    return {
        "tensors": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "modes": [m.training for m in model.modules()],
        "wanted": [p.requires_grad for p in model.parameters()],
        "grads": [p.grad is None for p in model.parameters()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "momenta": [m.momentum for m in model.modules() if hasattr(m, "momentum")],
    }


def assert_same(one: Any, other: Any) -> None:
    tensors = [found.pop("tensors") for found in (one, other)]
    assert one == other and tensors[0].keys() == tensors[1].keys()
    for name, value in tensors[0].items():
        assert torch.equal(value, tensors[1][name]), name


@pytest.mark.parametrize("name", RECOVERIES)
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("how", ["cut", "masked"])
def test_obligations(name: str, kind: str, how: str) -> None:
    """Inputs untouched, that of before included; modes, shapes and ties kept, masked entries still zero, the same
    twice, torch's random state left, all of it finite."""
    net, x = network(kind)
    small, removal = removed(net, x, how)
    next(iter(small.children())).train()
    next(iter(net.parameters())).requires_grad_(False)
    data, held = labelled(x), [state_of(m) for m in (small, net)]
    rng = torch.get_rng_state()
    first, second = (quick(name)(small, removal, data) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), rng)
    for before, model in zip(held, (small, net)):
        assert_same(before, state_of(model))
    kept, found = state_of(small), state_of(first)
    assert_same({**found, "tensors": first.state_dict()}, {**state_of(second), "tensors": second.state_dict()})
    kept_tensors, tensors = kept.pop("tensors"), found.pop("tensors")
    assert kept == found
    for key, value in tensors.items():
        assert value.shape == kept_tensors[key].shape and value.dtype == kept_tensors[key].dtype
        assert value.isfinite().all()
    for key, mask in (removal.masks or {}).items():
        assert not first.get_parameter(key)[~mask].any()
    assert len(list(first.parameters())) == len(list(small.parameters()))
    mine = {t.data_ptr() for t in first.state_dict().values() if t.numel()}
    assert not mine & {t.data_ptr() for m in (small, net) for t in m.state_dict().values() if t.numel()}


@pytest.mark.parametrize("name", RECOVERIES)
def test_the_network_before_may_be_the_one_that_was_masked(name: str) -> None:
    """Where only the masks are known; then nothing is missing, and only statistics and training change anything."""
    net, x = network("convs")
    small, removal = removed(net, x, "masked")
    repaired = quick(name)(small, Removal(small, masks=removal.masks), labelled(x))
    same = all(torch.equal(a, b) for a, b in zip(small.parameters(), repaired.parameters()))
    assert same == (name not in ("finetune", "distill"))


@pytest.mark.parametrize("name", RECOVERIES)
def test_random_state_outside_does_not_matter(name: str) -> None:
    """To a network that draws, either: a repair is the same whatever was drawn before it."""

    class Drawing(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + torch.rand_like(x))

    net, x = network("mlp")
    net = Drawing(*net).eval()
    small, removal = removed(net, x, "masked")
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        data = labelled(x)
        torch.manual_seed(seed)
        found.append(quick(name)(small, removal, data))
    assert all(torch.equal(a, b) for a, b in zip(found[0].parameters(), found[1].parameters()))


@pytest.mark.parametrize("name", RECOVERIES)
def test_no_data(name: str) -> None:
    net, x = network("convs")
    with pytest.raises(DataError, match="there is no batch"):
        quick(name)(*removed(net, x, "cut"), [])


@pytest.mark.parametrize("name", RECOVERIES)
def test_a_recovery_says_what_it_is(name: str) -> None:
    kind = RECOVERIES[name]
    assert kind.name == name and kind.summary and kind.source and kind.cost and not inspect.isabstract(kind)


@pytest.mark.parametrize("name", ["bias", "scale", "reweight", "reweight-intercept", "reconstruct"])
@pytest.mark.parametrize("kind", [kind for kind in NETWORKS if kind != "mlp"])
def test_the_network_comes_nearer_to_the_one_before(name: str, kind: str) -> None:
    """Not promised for every network: what is promised is each layer's error. These are made for it."""
    net, x = network(kind)
    small, removal = removed(net, x, "cut")
    repaired = quick(name)(small, removal, labelled(x))

    def apart(model: nn.Module) -> Tensor:
        with torch.no_grad():
            return (model(x) - net(x)).square().sum()

    assert apart(repaired) < apart(small)


def test_a_model_of_another_device_s_data() -> None:
    """Batches are brought to where the model is: nothing is assumed of where they lie."""
    net, x = network("mlp")
    small, removal = removed(net, x, "cut")

    class Elsewhere(Tensor):
        moved = 0

        def to(self, *args: Any, **kwargs: Any) -> Tensor:
            Elsewhere.moved += 1
            return self.as_subclass(Tensor).to(*args, **kwargs)

    data = [(a.as_subclass(Elsewhere), b) for a, b in labelled(x)]
    for name in RECOVERIES:
        Elsewhere.moved = 0
        quick(name)(small, removal, copy.copy(data))
        assert Elsewhere.moved or name == "batchnorm", name
