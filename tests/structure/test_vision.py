"""Vision transformers and mixed models: heads and widths go, whatever way the code writes sizes down.

First each trap as a small module of its own, then small networks of torchvision and timm where these are installed.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateurs.measure import count_macs
from secateurs.structure import Structure, Surgery, mask, replay, shrink, trace, trial
from secateurs.structure.copying import copy_with
from secateurs.structure.resizing import Resized, merged

from .networks import Function, randomise
from .test_exactness import outputs, random_keep

HEADS, WIDTH = 3, 12
STATE = 16


def prepared(model: nn.Module) -> nn.Module:
    """Randomised, also where initialisation leaves next to nothing to see."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and parameter.std() < 1e-2:
                parameter.normal_(std=0.3)
    return randomise(model).eval()


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def masked(model: nn.Module, structure: Structure, keep: Tensor) -> nn.Module:
    return mask(copy_with(model, lambda _, t: t.detach().clone()), structure, keep).eval()


def families(structure: Structure) -> dict[str, tuple[str, int]]:
    return {f.name: (f.kind, len(f.atoms)) for f in structure.families}


def agrees(
    model: nn.Module, inputs: Any, *others: Any, expected: dict[str, tuple[str, int]], seeds: int = 3, also: Any = None
) -> Structure:
    """Trace, compare families with those expected, and hold masked against shrunk on the inputs and others."""
    structure = trace(model, inputs, also=also)
    assert families(structure) == expected
    changed = False
    for seed in range(seeds):
        keep = random_keep(structure, seed, (0.7, 0.4, 0.15)[seed])
        small = shrink(model, structure, keep, check=False).model.eval()
        hidden = masked(model, structure, keep)
        for given in (inputs, *others):
            with torch.no_grad():
                dense, want, got = (outputs(m, given) for m in (model, hidden, small))
            changed |= any((a - b).abs().max() > 1e-6 for a, b in zip(dense, want))
            for a, b in zip(want, got, strict=True):
                torch.testing.assert_close(b, a, rtol=1e-8, atol=1e-9)
        assert structure.amount("params", keep) == sum(p.numel() for p in small.parameters())
        assert round(structure.amount("macs", keep)) == count_macs(small, inputs)
    assert changed
    return structure


# -- sizes that the code writes down -----------------------------------------------------------------
class Attention(nn.Module):
    """The width inside is taken from what comes in, and so is the scale."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(-2, -1) * (c // self.num_heads) ** -0.5).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


class Packed(nn.Module):
    """Queries, keys and values are split by the model's width, and heads lie in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.n_embd, self.n_head = WIDTH, HEADS
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        q, k, v = (t.view(b, n, self.n_head, c // self.n_head).transpose(1, 2) for t in (q, k, v))
        q, k, v = (t.reshape(b * self.n_head, n, -1) for t in (q, k, v))
        y = torch.bmm(torch.bmm(q, k.transpose(1, 2)).mul(0.5).softmax(-1), v)
        return self.c_proj(y.view(b, self.n_head, n, c // self.n_head).transpose(1, 2).contiguous().view(b, n, c))


class Unflattened(nn.Module):
    """As ``nn.Unflatten`` and its like write them, and an expanded token."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, HEADS, 1))
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(2, (HEADS, -1)) for t in torch.split(self.qkv(x), split_size_or_sections=WIDTH, dim=-1))
        k = k * self.token.expand(x.shape[0], x.shape[1], HEADS, 4)
        y = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)))
        return self.proj(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, attention: type[nn.Module]) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(WIDTH), attention()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.norm(x))


@pytest.mark.parametrize("attention", [Attention, Packed, Unflattened])
def test_heads_go_though_the_code_writes_their_width_down(attention: type[nn.Module]) -> None:
    model = prepared(nn.Sequential(Block(attention), Block(attention), nn.Linear(WIDTH, 2)))
    expected = {f"{i}.attention": ("head", HEADS) for i in range(2)}
    agrees(model, (normal(2, 5, WIDTH),), (normal(3, 5, WIDTH),), (normal(1, 9, WIDTH),), expected=expected)


def cut_attention(lost: int = 1) -> tuple[nn.Module, nn.Module, Tensor, Surgery]:
    model = prepared(nn.Sequential(Block(Attention), nn.Linear(WIDTH, 2)))
    x = normal(2, 5, WIDTH)
    structure = trace(model, x)
    keep = torch.ones(structure.atoms, dtype=torch.bool)
    keep[:lost] = False
    shrunk = shrink(model, structure, keep)
    return model, shrunk.model, x, shrunk.surgery


def test_the_stand_in_is_the_users_class_and_can_be_copied_pickled_and_replayed() -> None:
    model, small, x, surgery = cut_attention()
    attention: Any = small[0].attention  # type: ignore[union-attr,index]
    assert isinstance(attention, Attention) and isinstance(attention, Resized)
    assert type(model[0].attention) is Attention  # type: ignore[union-attr,index]
    assert attention.qkv.out_features == 2 * 12 and attention.num_heads == HEADS
    expected = small(x)
    file = io.BytesIO()
    torch.save(small, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert type(again[0].attention) is type(attention)
    fresh = replay(prepared(nn.Sequential(Block(Attention), nn.Linear(WIDTH, 2))), reread(surgery))
    fresh.load_state_dict(small.state_dict())
    for other in (copy.deepcopy(small), again, fresh, pickle.loads(pickle.dumps(small))):
        torch.testing.assert_close(other(x), expected, rtol=0, atol=0)


def reread(surgery: Surgery) -> Surgery:
    return Surgery.model_validate_json(surgery.model_dump_json())


def test_the_stand_in_exports_and_compiles() -> None:
    _, small, x, _ = cut_attention()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(small, (x,), dynamic_shapes=({0: batch},)).module()
    other = normal(4, 5, WIDTH)
    for run in (program, torch.compile(small, backend="eager", fullgraph=True)):
        torch.testing.assert_close(run(other), small(other))


def test_a_second_cut_goes_on_from_the_first() -> None:
    model, small, x, surgery = cut_attention()
    structure = trace(small, x)
    assert families(structure) == {"0.attention": ("head", 2)}
    smaller = shrink(small, structure, torch.tensor([True, False]))
    once, _, _, _ = cut_attention()
    structure = trace(model, x)
    at_once = shrink(model, structure, torch.tensor([False, True, False])).model
    torch.testing.assert_close(smaller.model(x), at_once(x))
    whole = surgery.then(smaller.surgery)
    fresh = replay(once, reread(whole))
    fresh.load_state_dict(at_once.state_dict())
    torch.testing.assert_close(fresh(x), at_once(x))
    restricted = structure.restrict(torch.tensor([False, True, True]))
    torch.testing.assert_close(shrink(small, restricted, torch.tensor([True, False]), x).model(x), at_once(x))


def test_changes_of_sizes_follow_each_other() -> None:
    assert merged([("a", 3, 12, 8)], [("a", 3, 8, 5), ("b", 0, 4, 2)]) == [("a", 3, 12, 5), ("b", 0, 4, 2)]
    assert merged([("a", 0, 12, 8)], [("a", 0, 4, 3)]) == [("a", 0, 12, 6)]
    assert merged([("a", 0, 3, 2)], [("a", 0, 8, 5)]) == [("a", 0, 12, 5)]


def test_a_module_that_is_called_with_different_things_keeps_its_size() -> None:
    """The same call counts channels that can be cut once and channels that cannot be cut another time."""

    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(-1, 6)

    def forward(m: Any, x: Tensor) -> Tensor:
        return m.out(m.twice(m.a(x).relu())) + m.out2(m.twice(x))

    model = prepared(Function(forward, a=nn.Linear(6, 6), twice=Twice(), out=nn.Linear(6, 2), out2=nn.Linear(6, 2)))
    structure = trace(model, normal(4, 6))
    assert structure.atoms == 0
    assert any(f.where == "a.weight[out]" and "code fixes" in f.reason for f in structure.frozen)


# -- numbers that come from a size -------------------------------------------------------------------
@pytest.mark.parametrize(
    "scale",
    [
        lambda h: h / h.shape[-1] ** 0.5,
        lambda h: h * len(h[0]),
        lambda h: h / torch.sqrt(torch.tensor(h.shape[-1])),
        lambda h: h + torch.full((), 1.0 / h.shape[-1], dtype=h.dtype),
        lambda h: h.sum(-1, keepdim=True) / h.shape[-1] * h,
    ],
)
def test_what_is_computed_from_a_width_fixes_it(scale: Callable[[Tensor], Tensor]) -> None:
    model = Function(lambda m, x: m.b(scale(m.a(x))), a=nn.Linear(3, 6), b=nn.Linear(6, 2))
    structure = trace(prepared(model), normal(4, 3))
    assert structure.atoms == 0
    assert any(f.where == "a.weight[out]" and "code fixes" in f.reason for f in structure.frozen)


def test_a_trial_costs_little_however_many_layers_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(6, 10), nn.Linear(10, 6)
            self.free, self.back = nn.Linear(6, 8), nn.Linear(8, 6)

        def forward(self, x: Tensor) -> Tensor:
            h = self.up(x)
            return x + self.down(h / h.shape[-1]) + self.back(self.free(x).relu())

    runs = []
    run = trial.Trial._run
    monkeypatch.setattr(trial.Trial, "_run", lambda *a: runs.append(1) or run(*a))
    counts = []
    for layers in (4, 24):
        runs.clear()
        structure = trace(
            nn.Sequential(nn.Linear(3, 6), *(Scaled() for _ in range(layers)), nn.Linear(6, 2)), normal(2, 3).float()
        )
        assert [len(f.atoms) for f in structure.families] == [6] + layers * [8]
        counts.append(len(runs))
    assert counts[1] <= counts[0] + 4 <= 20


# -- attention of all kinds --------------------------------------------------------------------------
class Windows(nn.Module):
    """Windows with a table of relative positions, and a mask that is added per window."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.table = nn.Parameter(torch.randn(7, HEADS))
        self.register_buffer("index", torch.arange(4)[:, None] - torch.arange(4) + 3)
        self.register_buffer("mask", torch.randn(2, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        attention = q @ k.transpose(-2, -1) + self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1)
        attention = attention.view(-1, 2, self.num_heads, n, n) + self.mask.unsqueeze(1).unsqueeze(0)
        attention = attention.view(-1, self.num_heads, n, n).softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, -1))


class Class(nn.Module):
    """Only the first token asks."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q = self.q(x[:, 0]).unsqueeze(1).reshape(b, 1, self.num_heads, c // self.num_heads).permute(0, 2, 1, 3)
        k, v = (f(x).reshape(b, n, self.num_heads, c // self.num_heads).permute(0, 2, 1, 3) for f in (self.k, self.v))
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return torch.cat([self.proj(y.transpose(1, 2).reshape(b, 1, c)), x[:, 1:]], 1)


class Talking(nn.Module):
    """Heads are mixed before and after the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.before, self.after = nn.Linear(HEADS, 5), nn.Linear(5, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0] * 0.5, qkv[1], qkv[2]
        attention = self.before((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(-1)
        attention = self.after(attention.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, c))


class CrossCovariance(nn.Module):
    """Channels attend to channels of their head; each head has a temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.temperature = nn.Parameter(torch.randn(HEADS, 1, 1))
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 4, 1).unbind(0)
        attention = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        return self.proj((attention.softmax(-1) @ v).permute(0, 3, 1, 2).reshape(b, n, c))


class FusedCrossCovariance(CrossCovariance):
    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 4, 1).unbind(0)
        q, k = F.normalize(q, dim=-1) * self.temperature, F.normalize(k, dim=-1)
        y = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return self.proj(y.permute(0, 3, 1, 2).reshape(b, n, c))


class Cached(nn.Module):
    """Biases are looked up once for evaluation; keys are narrower than values; batch norms within."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.key, self.value = HEADS, 2, 4
        self.qkv, self.norm = nn.Linear(WIDTH, HEADS * 8, bias=False), nn.BatchNorm1d(HEADS * 8)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.width = HEADS * self.value
        self.biases = nn.Parameter(torch.randn(HEADS, 4))
        self.register_buffer("index", (torch.arange(4)[:, None] - torch.arange(4)).abs())
        self.cache: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> Cached:
        self.cache = {}
        return super().train(mode)

    def looked_up(self) -> Tensor:
        if self.training:
            return self.biases[:, self.index]
        if "biases" not in self.cache:
            self.cache["biases"] = self.biases[:, self.index].detach()
        return self.cache["biases"]

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        y = self.norm(self.qkv(x).flatten(0, 1)).view(b, n, self.num_heads, -1)
        q, k, v = y.split([self.key, self.key, self.value], dim=3)
        attention = q.permute(0, 2, 1, 3) @ k.permute(0, 2, 3, 1) + self.looked_up()
        y = (attention.softmax(-1) @ v.permute(0, 2, 1, 3)).transpose(1, 2).reshape(b, n, self.width)
        return self.proj(F.hardswish(y))


@pytest.mark.parametrize("attention", [Windows, Class, Talking, CrossCovariance, FusedCrossCovariance, Cached])
def test_attention_of_all_kinds_loses_whole_heads(attention: type[nn.Module]) -> None:
    model = prepared(nn.Sequential(Block(attention), nn.Linear(WIDTH, 2)))
    expected = {"0.attention": ("head", HEADS)}
    if attention is Talking:
        expected["0.attention.before"] = ("channel", 5)
    agrees(model, (normal(4, 4, WIDTH),), (normal(2, 4, WIDTH),), expected=expected)


def test_what_was_looked_up_before_the_cut_is_forgotten() -> None:
    model: Any = prepared(nn.Sequential(Block(Cached), nn.Linear(WIDTH, 2)))
    x = normal(2, 4, WIDTH)
    model(x)
    assert model[0].attention.cache
    structure = trace(model, x)
    keep = torch.tensor([True, False, True])
    hidden = masked(model, structure, keep)
    for small in (
        shrink(model, structure, keep).model,
        shrink(copy.deepcopy(model), structure, keep, inplace=True).model,
    ):
        assert not small.training
        torch.testing.assert_close(small(x), hidden(x))
    assert model[0].attention.cache


# -- convolutions and mixers -------------------------------------------------------------------------
def test_a_unit_that_splits_and_shuffles_keeps_the_right_channels() -> None:
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.n, self.b = nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            kept, other = x.chunk(2, 1)
            x = torch.cat([kept, self.b(self.n(self.a(other)).relu())], 1)
            b, c, h, w = x.shape
            return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)

    model = prepared(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), Unit(), nn.Conv2d(8, 3, 3, groups=1)))
    agrees(model, (normal(2, 3, 4, 4),), expected={"0": ("channel", 4), "2.a": ("channel", 6)})


def test_splits_that_feed_each_other() -> None:
    """As in Res2Net: each piece but the last passes a convolution of its own, with the one before added."""

    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1, self.width = nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12), 4
            self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
            self.conv3 = nn.Conv2d(12, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            pieces = torch.split(self.bn1(self.conv1(x)).relu(), self.width, 1)
            out = [self.convs[0](pieces[0]).relu()]
            out.append(self.convs[1](out[0] + pieces[1]).relu())
            return self.conv3(torch.cat([*out, pieces[2]], 1))

    agrees(prepared(Scales()), (normal(2, 3, 6, 6),), expected={"conv1": ("channel", 4), "convs.1": ("channel", 4)})


def test_branches_that_are_dropped_at_random_in_training() -> None:
    """Stochastic depth is the identity in evaluation; whole examples lose a branch in training."""

    class Drop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                return x
            kept = torch.rand(len(x), *(1,) * (x.dim() - 1), dtype=x.dtype) < 0.5
            return x * kept / 0.5

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner, self.back = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 1)
            self.norm, self.drop, self.out = nn.BatchNorm2d(8), Drop(), nn.Conv2d(8, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.out(x + self.drop(self.norm(self.back(self.inner(x).relu()))))

    model = prepared(Net())
    before = torch.get_rng_state()
    structure = agrees(model, (normal(2, 3, 4, 4),), expected={"stem": ("channel", 8), "inner": ("channel", 12)})
    torch.set_rng_state(before)
    trace(model, (torch.ones(2, 3, 4, 4, dtype=torch.float64),))
    assert torch.equal(torch.get_rng_state(), before)  # what training draws is as if nobody had looked
    keep = random_keep(structure, 0, 0.5)
    small, hidden = shrink(model, structure, keep).model.train(), masked(model, structure, keep).train()
    x = normal(4, 3, 4, 4)
    drawn = [(torch.manual_seed(1), net(x))[1] for net in (hidden, small)]
    torch.testing.assert_close(drawn[1], drawn[0], rtol=1e-8, atol=1e-9)


def test_inputs_of_a_standardised_convolution_stay() -> None:
    """Its weights' mean and deviation run over them; what only ordinary layers read goes."""

    class Standardised(nn.Conv2d):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.gain = nn.Parameter(torch.randn(self.out_channels, 1, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            flat = self.weight.reshape(1, self.out_channels, -1)
            weight = F.batch_norm(flat, None, None, weight=(self.gain * 0.1).view(-1), training=True, momentum=0.0)
            return F.conv2d(x, weight.reshape_as(self.weight), self.bias)

    layers = (Standardised(3, 6, 3), nn.ReLU(), Standardised(6, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 2))
    structure = agrees(prepared(nn.Sequential(*layers)), (normal(2, 3, 6, 6),), expected={"2": ("channel", 5)})
    assert any(f.where == "0.weight[out]" and "standardises weights" in f.reason for f in structure.frozen)
    assert not any("kernel" in f.where for f in structure.frozen)


def test_a_width_of_which_the_code_takes_a_written_part_leaves_room_for_it() -> None:
    """As in RAFT: the state's width is written down, the context has the rest, and there must be some."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.update = nn.Conv2d(3, STATE + 12, 3), nn.Conv2d(STATE + 12, STATE, 1)
            self.out = nn.Conv2d(STATE, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.encoder(x)
            rest = x.shape[1] - STATE
            if rest <= 0:
                raise ValueError("no channels are left for the context")
            state, context = torch.split(x, [STATE, rest], 1)
            state = torch.tanh(state)
            return self.out(state + self.update(torch.cat([state, context.relu()], 1)))

    structure = agrees(prepared(Recurrent()), (normal(2, 3, 6, 6),), expected={"encoder": ("channel", 12)})
    assert any(
        f.where == "encoder.weight[out]" and f.size == STATE and "code fixes" in f.reason for f in structure.frozen
    )


def test_a_global_response_norm_keeps_its_channels() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        response = x.norm(p=2, dim=(2, 3), keepdim=True)
        return m.b(x * response / (response.mean(1, keepdim=True) + 1e-6) + x)

    structure = trace(prepared(Function(forward, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1))), normal(2, 3, 4, 4))
    assert structure.atoms == 0
    assert any(f.where == "a.weight[out]" and "the mean runs over" in f.reason for f in structure.frozen)


# -- torchvision -------------------------------------------------------------------------------------
def wide(**sizes: int) -> dict[str, tuple[str, int]]:
    """Families by name (dots as double underscores); those of attention are heads."""
    return {
        name.replace("__", "."): ("head" if name.endswith(("attn", "attention", "attn_layer__1")) else "channel", size)
        for name, size in sizes.items()
    }


def vision(name: str) -> Any:
    pytest.importorskip("torchvision", reason="needs torchvision")
    return pytest.importorskip(name, reason=f"needs {name}")


def images(size: int, batch: int = 2) -> Tensor:
    return normal(batch, 3, size, size)


def test_torchvision_swin() -> None:
    models = vision("torchvision.models")
    model = models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], mlp_ratio=2.0, num_classes=5)
    blocks = [f"features.{stage}.{i}" for stage in (1, 3) for i in range(2)]
    expected = {f"{b}.attn": ("head", 2 if ".1." in b else 4) for b in blocks}
    expected |= {f"{b}.mlp.0": ("channel", 32 if ".1." in b else 64) for b in blocks}
    model = prepared(model)
    structure = agrees(model, (images(32),), (images(32, 1),), expected=expected, seeds=1)
    assert {resize.path for resize in structure.resizes} == {f"{b}.attn" for b in blocks}
    # In larger images the windows of the second stage are shifted, too: other code, in which nothing may go wrong.
    small = shrink(model, structure, random_keep(structure, 1, 0.5)).model
    with pytest.raises(RuntimeError, match="also="):
        small(images(40))
    agrees(model, (images(32),), (images(40, 1),), expected=expected, seeds=2, also=[(images(40),)])


def test_torchvision_maxvit() -> None:
    models = vision("torchvision.models.maxvit")
    model = models.MaxVit((32, 32), 8, 4, [16, 32], [1, 1], 8, 0.2, mlp_ratio=2, num_classes=5)
    expected = wide(stem__0__0=8, stem__1__0=8, classifier__3=32)
    for stage, heads in ((0, 2), (1, 4)):
        for part in ("window", "grid"):
            expected[f"blocks.{stage}.layers.0.layers.{part}_attention.attn_layer.1"] = ("head", heads)
            expected[f"blocks.{stage}.layers.0.layers.{part}_attention.mlp_layer.1"] = ("channel", 16 * heads)
        inner = f"blocks.{stage}.layers.0.layers.MBconv.layers"
        expected |= {f"{inner}.conv_a.0": ("channel", 32 * heads)}
        expected |= {f"{inner}.squeeze_excitation.fc1": ("channel", 2 * heads)}
    agrees(prepared(model), (images(32),), (images(32, 1),), expected=expected, seeds=2)


def test_torchvision_vit_and_convnext() -> None:
    models = vision("torchvision.models")
    vit = models.VisionTransformer(32, 8, 2, 4, 24, 40, num_classes=5)
    layers = [f"encoder.layers.encoder_layer_{i}" for i in range(2)]
    expected = {f"{layer}.self_attention": ("head", 4) for layer in layers}
    expected |= {f"{layer}.mlp.0": ("channel", 40) for layer in layers}
    agrees(prepared(vit), (images(32),), (images(32, 1),), expected=expected, seeds=2)
    setting = vision("torchvision.models.convnext").CNBlockConfig
    convnext = models.ConvNeXt([setting(8, 12, 2), setting(12, None, 1)], num_classes=5)
    expected = {"features.1.0.block.3": 32, "features.1.1.block.3": 32, "features.3.0.block.3": 48}
    channels = {name: ("channel", size) for name, size in expected.items()}
    agrees(prepared(convnext), (images(32),), (images(48, 1),), expected=channels, seeds=2)


def test_what_an_optical_flow_model_divides_by_the_root_of_its_width_stays() -> None:
    flow = vision("torchvision.models.optical_flow.raft")
    features = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Conv2d(8, 6, 1))
    correlation = flow.CorrBlock(num_levels=2, radius=1)

    def forward(m: Any, x: Tensor) -> Tensor:
        correlation.build_pyramid(m.features(x), m.features(x.flip(0)))
        return correlation.corr_pyramid[0]

    structure = agrees(
        prepared(Function(forward, features=features)), (images(64),), expected={"features.0": ("channel", 8)}
    )
    assert any(f.where == "features.2.weight[out]" and "code fixes" in f.reason for f in structure.frozen)


# -- timm --------------------------------------------------------------------------------------------
def timm_swin(models: Any) -> tuple[nn.Module, dict[str, tuple[str, int]]]:
    model = models.swin_transformer.SwinTransformer(
        img_size=32, patch_size=2, window_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 4), mlp_ratio=2.0
    )
    blocks = {f"layers.{stage}.blocks.{i}": heads for stage, heads in ((0, 2), (1, 4)) for i in range(2)}
    expected = {f"{b}.attn": ("head", heads) for b, heads in blocks.items()}
    return model, expected | {f"{b}.mlp.fc1": ("channel", 16 * heads) for b, heads in blocks.items()}


def timm_beit(models: Any) -> tuple[nn.Module, dict[str, tuple[str, int]]]:
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0}
    model = models.beit.Beit(**shape, use_rel_pos_bias=True, use_abs_pos_emb=False, init_values=0.1)
    expected = {f"blocks.{i}.attn": ("head", 3) for i in range(2)}
    return model, expected | {f"blocks.{i}.mlp.fc1": ("channel", 48) for i in range(2)}


def timm_cait(models: Any) -> tuple[nn.Module, dict[str, tuple[str, int]]]:
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0}
    model = models.cait.Cait(**shape, depth_token_only=1)
    expected = wide(blocks_token_only__0__attn=3, blocks_token_only__0__mlp__fc1=96)
    for i in range(2):
        expected |= {f"blocks.{i}.attn": ("head", 3), f"blocks.{i}.attn.proj_l": ("channel", 3)}
        expected |= {f"blocks.{i}.mlp.fc1": ("channel", 48)}
    return model, expected


def timm_xcit(models: Any) -> tuple[nn.Module, dict[str, tuple[str, int]]]:
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0}
    model = models.xcit.Xcit(**shape, cls_attn_layers=1)
    expected = wide(patch_embed__proj__0__0=4, patch_embed__proj__2__0=8)
    for block in ("blocks.0", "blocks.1", "cls_attn_blocks.0"):
        expected |= {f"{block}.attn": ("head", 4), f"{block}.mlp.fc1": ("channel", 32)}
    return model, expected


def timm_levit(models: Any) -> tuple[nn.Module, dict[str, tuple[str, int]]]:
    model = models.levit.Levit(img_size=32, embed_dim=(16, 24), key_dim=4, depth=(1, 1), num_heads=(2, 3))
    expected = wide(stem__conv1__linear=2, stem__conv2__linear=4, stem__conv3__linear=8, stem__conv4__linear=16)
    expected |= wide(stages__0__blocks__0__attn=2, stages__1__blocks__0__attn=3)
    expected |= {"stages.1.downsample.attn_downsample": ("head", 4)}
    expected |= wide(stages__1__downsample__attn_downsample__proj__ln__linear=24)
    for block, width in (("0.blocks.0", 32), ("1.downsample", 48), ("1.blocks.0", 48)):
        expected[f"stages.{block}.mlp.ln1.linear"] = ("channel", width)
    return model, expected


def timm_mixers(models: Any) -> tuple[nn.Module, dict[str, tuple[str, int]]]:
    model = models.mlp_mixer.MlpMixer(img_size=32, patch_size=8, num_blocks=2, embed_dim=12)
    expected = {f"blocks.{i}.mlp_tokens.fc1": ("channel", 6) for i in range(2)}
    return model, expected | {f"blocks.{i}.mlp_channels.fc1": ("channel", 48) for i in range(2)}


def timm_resmlp(models: Any) -> tuple[nn.Module, dict[str, tuple[str, int]]]:
    parts = {"block_layer": models.mlp_mixer.ResBlock, "norm_layer": models.mlp_mixer.Affine}
    model = models.mlp_mixer.MlpMixer(img_size=32, patch_size=8, num_blocks=2, embed_dim=12, mlp_ratio=2, **parts)
    return model, wide(stem__proj=12, blocks__0__mlp_channels__fc1=24, blocks__1__mlp_channels__fc1=24)


def timm_convnext(models: Any) -> tuple[nn.Module, dict[str, tuple[str, int]]]:
    model = models.convnext.ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 8, 12, 12))
    return model, {f"stages.{i}.blocks.0.mlp.fc1": ("channel", 32 if i < 2 else 48) for i in range(4)}


def timm_edgenext(models: Any) -> tuple[nn.Module, dict[str, tuple[str, int]]]:
    shape = {"dims": (8, 8, 12, 16), "depths": (1, 1, 2, 1), "heads": (4, 4, 4, 4)}
    model = models.edgenext.EdgeNeXt(**shape, global_block_counts=(0, 0, 1, 0), d2_scales=(2, 2, 3, 4))
    fc1 = {"0.blocks.0": 32, "1.blocks.0": 32, "2.blocks.0": 48, "2.blocks.1": 48, "3.blocks.0": 64}
    expected = {f"stages.{block}.mlp.fc1": ("channel", width) for block, width in fc1.items()}
    return model, expected | {"stages.2.blocks.1.xca": ("head", 4)}


@pytest.mark.parametrize(
    "small",
    [
        timm_swin, timm_beit, timm_cait, timm_xcit, timm_levit, timm_mixers, timm_resmlp, timm_convnext, timm_edgenext,
    ],
)  # fmt: skip
def test_timm(small: Callable[[Any], tuple[nn.Module, dict[str, tuple[str, int]]]]) -> None:
    model, expected = small(vision("timm.models"))
    agrees(prepared(model), (images(32),), (images(32, 1),), expected=expected, seeds=2)
