"""What readers are, in which order, and what they read; networks and torch's state stay as they were."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateurs.errors import DataError, StructureError
from secateurs.recovery import Reconstruct, Removal, Reweight
from secateurs.recovery.readers import Pair, paired
from secateurs.recovery.running import run, still
from secateurs.signals.patches import as_rows, channel_rows, rows_of
from secateurs.structure import Surgery

from .networks import cut, labelled, masked, network

CONVOLUTIONS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv1d(4, 6, 3, stride=2, padding=2), (4, 9)),
    (nn.Conv1d(4, 6, 2, padding="same", dilation=2), (4, 9)),
    (nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(0, 1)), (4, 7, 8)),
    (nn.Conv2d(4, 6, 3, dilation=2, groups=2, bias=False), (4, 7, 8)),
    (nn.Conv2d(4, 8, 3, padding=1, groups=4, padding_mode="circular"), (4, 7, 8)),
    (nn.Conv3d(4, 6, (1, 2, 3), padding=(0, 1, 1), stride=(2, 1, 1), groups=2), (4, 5, 4, 4)),
    (nn.Linear(4, 6), (3, 4)),
    (nn.Linear(4, 6), (4,)),
]


# -- rows ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("module, shape", CONVOLUTIONS, ids=lambda v: str(v)[:60])
@pytest.mark.parametrize("batch", [True, False])
def test_the_weight_times_a_row_is_the_output_there(module: Any, shape: tuple[int, ...], batch: bool) -> None:
    """For every position in order; and for a share of them, the same rows, each once."""
    torch.manual_seed(0)
    module = copy.deepcopy(module).double()
    x = torch.randn(*((5, *shape) if batch else shape)).double()
    y = module(x).detach()
    pieces = list(rows_of(module, x, y))
    inputs, outputs = (torch.cat([p[i] for p in pieces], 1) for i in (0, 1))
    made = inputs @ as_rows(module, module.weight).mT
    if module.bias is not None:
        made = made + module.bias.reshape(len(made), 1, -1)
    assert torch.allclose(made, outputs, atol=1e-12)
    channels_last = y if isinstance(module, nn.Linear) else y.movedim(1 if batch else 0, -1)
    assert torch.equal(outputs.transpose(0, 1).flatten(1), channels_last.reshape(-1, y.numel() // outputs.shape[1]))
    some = list(rows_of(module, x, y, 0.4, torch.Generator().manual_seed(0)))
    count = sum(p[0].shape[1] for p in some)
    assert count == -(-2 * outputs.shape[1] // 5)
    for left, right in some:
        for i in range(left.shape[1]):
            same = (inputs == left[:, i : i + 1]).all(2).all(0)
            assert same.any() and torch.equal(outputs[:, same][:, 0], right[:, i])


def test_patches_are_unfold_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateurs.signals.patches.PIECE", 300)  # several pieces
    x = torch.randn(3, 4, 7, 8).double()
    module = nn.Conv2d(4, 2, (3, 2), stride=2, padding=1, dilation=(1, 2)).double()
    pieces = list(rows_of(module, x, module(x)))
    assert len(pieces) > 2
    expected = F.unfold(x, (3, 2), dilation=(1, 2), padding=1, stride=2).mT.flatten(0, 1)
    assert torch.equal(torch.cat([p[0] for p in pieces], 1)[0], expected)


def test_channels_at_every_position() -> None:
    x = torch.arange(2 * 4 * 3).reshape(2, 4, 3).double()
    module = nn.Conv1d(4, 4, 3, groups=2)
    (rows,) = channel_rows(module, x, 1.0, torch.Generator())
    assert rows.shape == (2, 6, 2)
    for group in range(2):
        for n in range(2):
            for t in range(3):
                assert rows[group, 3 * n + t].tolist() == x[n, 2 * group : 2 * group + 2, t].tolist()


# -- readers -------------------------------------------------------------------------------------------------
def found(net: nn.Module, x: Tensor, removal: Removal | None = None) -> list[Any]:
    with paired(net, removal or Removal(net), labelled(x)) as pair:
        return pair.readers


def test_order_is_that_of_running() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.unused, self.first = nn.Linear(3, 2), nn.Linear(9, 9), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x))

    assert [r.name for r in found(Backwards(), torch.randn(5, 4))] == ["first", "last"]


def test_a_weight_that_is_used_often_is_one_reader() -> None:
    net, x = network("repeated")
    readers = {r.name: r for r in found(net, x)}
    assert {name: (r.calls, len(r.pairs)) for name, r in readers.items()} == {
        "first": (1, 1), "again": (3, 1), "left": (2, 2), "out": (1, 1)
    }  # fmt: skip
    assert readers["again"].positions == 3 * 8 and readers["left"].positions == 2 * 8


def test_what_is_not_a_reader() -> None:
    class Odd(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).relu()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(6, 4), nn.Linear(4, 6)
            self.head.weight = self.embed.weight
            self.odd, self.plain = Odd(4, 4), nn.Linear(4, 4)
            self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
            self.up = nn.ConvTranspose1d(4, 4, 1)
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
            self.two.weight = self.one.weight  # but not its bias

        def forward(self, x: Tensor) -> Tensor:
            x = self.normed(self.odd(self.plain(self.embed(x))))
            return self.head(self.two(self.one(self.up(x.mT).mT)))

    net = Net()
    data = [(torch.randint(6, (5, 3)), torch.zeros(5))]
    with paired(net, Removal(net), data) as pair:
        assert [r.name for r in pair.readers] == ["plain"]


def test_calls_see_both_networks() -> None:
    """In the order of the data; what the network before returned is that of the outputs which are still there."""
    net, x = network("convs")
    small, removal = cut(net, x)
    with paired(small, removal, labelled(x, 16)) as pair:
        reader = pair.readers[1]
        calls = list(pair.calls(reader))
        assert [len(c.x) for c in calls] == [16, 16, 8]
        with torch.no_grad():
            assert torch.allclose(torch.cat([c.x for c in calls]), small[:3](x), atol=1e-12)
            assert torch.allclose(torch.cat([c.y for c in calls]), small[:4](x), atol=1e-12)
            expected = net[:4](x)[:, reader.outputs]
        assert torch.allclose(torch.cat([c.before for c in calls]), expected, atol=1e-12)
        assert pair.changed(reader) and not pair.changed(pair.readers[0])  # which lost outputs only


def test_calls_are_copied_before_they_are_overwritten() -> None:
    net, x = network("repeated")
    with paired(net, Removal(net), labelled(x)) as pair:
        reader = next(r for r in pair.readers if r.name == "again")
        for call in pair.calls(reader):
            assert torch.allclose(call.y, net.again(call.x), atol=1e-13) and not pair.changed(reader)


def test_a_run_ends_where_all_was_seen() -> None:
    """Also through a model's own handling of exceptions."""

    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            try:
                x = self.a(x)
                x = self.a(x)
            except Exception:
                pass
            return self.b(x)

    net, seen = Careful(), []
    watch = {m: lambda m, x, y: seen.append(m) for m in (net.a, net.b)}
    for calls, expected in ((1, "a"), (2, "aa"), (3, "aab"), (9, "aab"), (None, "aab")):
        seen.clear()
        run(net, torch.randn(3, 2), watch, calls)
        assert seen == [getattr(net, name) for name in expected]
    assert not any(m._forward_hooks for m in net.modules())


def test_networks_and_random_state_stay() -> None:
    class Restless(nn.Module):
        """Draws, counts, and differs in training."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.drop, self.b = nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2)
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return self.b(self.drop(self.a(x)) + torch.rand(4))

    net = Restless()
    net.b.eval()
    state, rng = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    modes = [m.training for m in net.modules()]
    with paired(net, Removal(net), labelled(torch.randn(9, 4), 9)) as pair:
        torch.set_rng_state(rng)
        assert not any(pair.changed(r) for r in pair.readers)  # the same is drawn for both
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    for model in (net, pair.repaired):
        assert [m.training for m in model.modules()] == modes and not model.count
    with pytest.raises(KeyError), still(net):
        raise KeyError
    assert [m.training for m in net.modules()] == modes


def test_rows_are_shared_out_over_all_data() -> None:
    net, x = network("conv1d")
    with paired(net, Removal(net), labelled(x, 10)) as pair:
        assert pair.share(pair.readers[0], 50) == 50 / (40 * 5)
        assert pair.share(pair.readers[0], 10_000) == 1.0


# -- what cannot be ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("recovery", [Reweight(), Reconstruct()], ids=lambda r: r.name)
class TestDegenerate:
    def test_no_data(self, recovery: Any) -> None:
        net, x = network("mlp")
        for data in ([], [(x[:0], torch.zeros(0))]):
            with pytest.raises(DataError, match="there is no batch"):
                recovery(*cut(net, x), data)

    def test_data_that_can_be_read_once(self, recovery: Any) -> None:
        def once() -> Iterator[tuple[Tensor, Tensor]]:
            yield from labelled(x)

        net, x = network("mlp")
        with pytest.raises(DataError, match="only once"):
            recovery(*cut(net, x), once())

    def test_values_that_are_not_finite(self, recovery: Any) -> None:
        net, x = network("mlp")
        small, removal = cut(net, x)
        x[30, 2] = float("nan")
        with pytest.raises(DataError, match=r"'2' is given"):
            recovery(small, removal, labelled(x))

    def test_constant_activations(self, recovery: Any) -> None:
        """A constant input tells nothing that an intercept does not; nothing becomes infinite."""
        net, x = network("convs")
        small, removal = cut(net, x)
        repaired = recovery(small, removal, labelled(torch.ones_like(x)))
        assert all(t.isfinite().all() for t in repaired.state_dict().values())
        with torch.no_grad():
            apart = [float((m(torch.ones_like(x)) - net(torch.ones_like(x))).norm()) for m in (small, repaired)]
        assert apart[1] < apart[0]

    def test_one_example(self, recovery: Any) -> None:
        net, x = network("mlp")
        small, removal = cut(net, x)
        repaired = recovery(small, removal, labelled(x[:1]))
        assert all(t.isfinite().all() for t in repaired.state_dict().values())

    def test_the_removal_of_another_cut(self, recovery: Any) -> None:
        net, x = network("mlp")
        small, _ = cut(net, x)
        with pytest.raises(StructureError, match=r"the removal leaves 9 × 4 of '0\.weight'"):
            recovery(small, Removal(net, Surgery()), labelled(x))

    def test_nothing_was_removed(self, recovery: Any) -> None:
        net, x = network("mlp")
        for removal in (Removal(net), Removal(net, masks={"2.weight": torch.ones(6, 9)})):
            same = recovery(net, removal, labelled(x))
            assert all(torch.equal(value, net.state_dict()[name]) for name, value in same.state_dict().items())


def test_not_finite_from_the_first_example_on() -> None:
    """Also where the reader that is asked first lost nothing, and is only looked at."""
    net, x = network("mlp")
    small, removal = cut(net, x)
    with pytest.raises(DataError, match="not finite"):
        Reconstruct()(small, removal, labelled(torch.full_like(x, float("nan"))))


def test_a_masked_bias_stays_zero() -> None:
    net, x = network("mlp")
    small, removal = masked(net)
    with torch.no_grad():
        small[4].bias[1] = 0
    removal.masks["4.bias"] = torch.tensor([True, False, True])
    assert not found(small, x, removal)[-1].biased
    assert Reconstruct()(small, removal, labelled(x))[4].bias[1] == 0


def test_pairs_with_other_positions_are_passed_over() -> None:
    """Experts that are given other examples than before have nothing to be compared with."""
    net, x = network("mlp")
    pair = Pair(net, Removal(copy.deepcopy(net)), labelled(x))
    with paired(net, pair._removal, labelled(x)) as pair:
        pair.before.register_forward_pre_hook(lambda _, args: (args[0][:3],))
        assert list(pair.calls(pair.readers[0])) == [] and not pair.changed(pair.readers[0])
