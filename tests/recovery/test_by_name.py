"""Repairs asked for by name or tried unasked, in one call after a cut of one's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import secateurs
from secateurs.errors import DataError, RunError, StructureError, UnknownNameError
from secateurs.recovery import LADDER, RECOVERIES, Reconstruct, Removal, Rung, asked, by_name
from secateurs.structure import Shrunk

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture
def data() -> Batches:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(48, 6, generator=generator), torch.arange(48) % 3) for _ in range(4)]


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def cut(net: nn.Module, data: Batches) -> Shrunk:
    players = secateurs.players(net, data[0][0][:2])
    keep = torch.arange(len(players)) % 3 > 0
    return secateurs.shrink(net, players.structure, players.atom_mask(keep))


def equal(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def test_a_chain_is_carried_out_whatever_it_gives(net: nn.Module, cut: Shrunk, data: Batches) -> None:
    states = [copy.deepcopy(m.state_dict()) for m in (net, cut.model)]
    found = secateurs.recover(cut.model, before=net, surgery=cut.surgery, data=data, how=["reconstruct", "batchnorm"])
    removal = Removal(net, cut.surgery)
    expected = RECOVERIES["batchnorm"]()(Reconstruct()(cut.model, removal, data), removal, data)
    assert equal(found.model, expected) and not equal(found.model, cut.model)
    assert found.tried == [] and found.target is None and not found.reached
    for model, state in zip((net, cut.model), states):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    worse = secateurs.recover(
        cut.model, before=net, surgery=cut.surgery, data=data, how="reconstruct", validation=lambda m: float(m is net)
    )
    assert [(t.name, t.value, t.kept) for t in worse.tried] == [("none", 0.0, False), ("reconstruct", 0.0, True)]
    assert worse.target == 1 - 0.005 and not worse.reached
    assert equal(worse.model, Reconstruct()(cut.model, removal, data))


def test_auto_keeps_the_best_and_ends_where_it_has_recovered(
    net: nn.Module, cut: Shrunk, data: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values are dealt out: 0.9 before the cut, then 0.5, 0.7, 0.6, 0.88; the last is within 0.03 of the first."""
    rungs = tuple(Rung((RECOVERIES[name](),)) for name in ("batchnorm", "bias", "reconstruct", "scale"))
    monkeypatch.setattr(by_name, "LADDER", rungs)
    values = iter([0.9, 0.5, 0.7, 0.6, 0.88])
    found = secateurs.recover(
        cut.model, before=net, surgery=cut.surgery, data=data, validation=lambda _: next(values), tolerance=0.03
    )
    assert [(t.name, t.value, t.kept) for t in found.tried] == [
        ("none", 0.5, True), ("batchnorm", 0.7, True), ("bias", 0.6, False), ("reconstruct", 0.88, True),
    ]  # fmt: skip
    assert found.reached and found.target == pytest.approx(0.87)
    assert equal(found.model, Reconstruct()(cut.model, Removal(net, cut.surgery), data))


def test_validation_is_counted(net: nn.Module, cut: Shrunk, data: Batches) -> None:
    net.eval()
    labelled = [(x, net(x).argmax(-1)) for x, _ in data]
    found = secateurs.recover(cut.model, before=net, surgery=cut.surgery, data=data, validation=labelled, how="bias")
    assert found.target == 1 - 0.005
    right = sum(int((cut.model.eval()(x).argmax(-1) == y).sum()) for x, y in labelled)
    assert found.tried[0].value == right / 192 < 1


def test_single_weights_stay_away(net: nn.Module, data: Batches) -> None:
    players = secateurs.players(net, data[0][0][:2], granularity="weight")
    keep = torch.rand(len(players), generator=torch.Generator().manual_seed(2)) > 0.4
    masks = players.entries(keep)
    sparse = copy.deepcopy(net)
    for name, parameter in sparse.named_parameters():
        parameter.data.mul_(masks.get(name, torch.ones_like(parameter)))
    assert sum(int((~mask).sum()) for mask in masks.values()) == int((~keep).sum()) > 0
    found = secateurs.recover(sparse, before=net, masks=masks, data=data, how="reconstruct").model
    assert not equal(found, sparse)
    own = dict(found.named_parameters())
    assert all(not own[name][~mask].any() for name, mask in masks.items())


def test_errors_show_what_was_given(net: nn.Module, cut: Shrunk, data: Batches) -> None:
    given = {"before": net, "surgery": cut.surgery, "data": data}
    with pytest.raises(UnknownNameError, match="unknown recovery 'rewieght'; did you mean 'reweight'"):
        secateurs.recover(cut.model, **given, how="rewieght")
    with pytest.raises(RunError, match="'auto' tries them by itself"):
        asked(["auto", "bias"])
    with pytest.raises(DataError, match="validation="):
        secateurs.recover(cut.model, **given)
    with pytest.raises(DataError, match="can be read only once"):
        secateurs.recover(cut.model, **{**given, "data": iter(data)}, how="bias")
    with pytest.raises(DataError, match="can be read only once"):
        secateurs.recover(cut.model, **given, how="bias", validation=iter(data))
    with pytest.raises(DataError, match="no example"):
        secateurs.recover(cut.model, **given, how="bias", validation=[])
    with pytest.raises(StructureError, match=r"'0.weight' has shape \(10, 6\), and this cut leaves \(16, 6\)"):
        secateurs.recover(cut.model, before=net, data=data, how="bias")
    with pytest.raises(StructureError, match=r"in the network before it has shape \(10, 6\).*since"):
        secateurs.recover(cut.model, **{**given, "before": cut.model}, how="bias")
    with pytest.raises(StructureError, match="is none in the network before"):
        secateurs.recover(nn.Linear(2, 2), before=net, data=data, how="bias")
    with pytest.raises(StructureError, match=r"masks\['0.weight'\] has shape \(2,\)"):
        secateurs.recover(net, before=net, masks={"0.weight": torch.ones(2).bool()}, data=data, how="bias")


def test_a_second_cut_after_a_first(net: nn.Module, cut: Shrunk, data: Batches) -> None:
    players = secateurs.players(cut.model, data[0][0][:2])
    keep = torch.arange(len(players)) % 2 > 0
    second = secateurs.shrink(cut.model, players.structure, players.atom_mask(keep))
    whole = cut.surgery.then(second.surgery)
    with pytest.raises(StructureError, match="since"):
        secateurs.recover(second.model, before=cut.model, surgery=whole, data=data, how="reconstruct")
    since = secateurs.recover(
        second.model, before=cut.model, surgery=whole.since(cut.surgery), data=data, how="reconstruct"
    )
    plain = secateurs.recover(second.model, before=cut.model, surgery=second.surgery, data=data, how="reconstruct")
    assert equal(since.model, plain.model)


def test_the_ladder_is_made_of_what_can_be_named() -> None:
    assert LADDER and all(r.name in RECOVERIES for rung in LADDER for r in rung.recoveries)
