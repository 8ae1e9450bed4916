"""Code that one run in evaluation mode does not reach: heads for training, branches on data, optional arguments."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateurs import players
from secateurs.errors import StructureError
from secateurs.measure import count_macs
from secateurs.structure import Structure, mask, paths, shrink, trace
from secateurs.structure.tracing import random_kept

from .networks import Function, randomise
from .test_exactness import outputs, random_keep


def both(model: nn.Module, structure: Structure, seed: int = 0, density: float = 0.5) -> tuple[nn.Module, nn.Module]:
    """The masked network and the shrunk one, which is checked by its maker as well."""
    keep = random_keep(structure, seed, density)
    assert not keep.all()
    return mask(copy.deepcopy(model), structure, keep), shrink(model, structure, keep).model


def assert_same(masked: nn.Module, small: nn.Module, *inputs: Any, training: bool = False) -> None:
    """Equal outputs; in training mode without dropout, on the statistics of the batch."""
    for model in (masked, small):
        model.train(training)
        for module in model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
    for given in inputs:
        given = given if isinstance(given, (tuple, dict)) else (given,)
        with torch.no_grad():
            expected, got = outputs(copy.deepcopy(masked), given), outputs(copy.deepcopy(small), given)
        assert len(expected) == len(got)
        for a, b in zip(expected, got):
            torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)


def widths(structure: Structure) -> dict[str, int]:
    return {f.name: len(f.atoms) for f in structure.families}


def reasons(structure: Structure) -> dict[str, str]:
    return {f.where: f.reason for f in structure.frozen}


# -- training --------------------------------------------------------------------------------------------------------


class Auxiliary(nn.Module):
    """A second head, whose loss helps in training."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6, affine=False), nn.Sigmoid())
        self.out = nn.Linear(6, 4)
        self.aux = nn.Sequential(
            nn.Conv2d(8, 7, 1), nn.BatchNorm2d(7), nn.ReLU(), nn.Dropout2d(0.3), nn.Flatten(), nn.Linear(7 * 16, 10)
        )
        self.last = nn.Sequential(nn.ReLU(), nn.Dropout(0.4), nn.AlphaDropout(0.1), nn.Linear(10, 4))

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        y = self.out(self.body(x).mean((2, 3)))
        if self.training:
            return y, self.last(self.aux(x))
        return y


IMAGE = (3, 3, 4, 4)


@pytest.fixture
def auxiliary() -> tuple[nn.Module, Tensor]:
    return randomise(Auxiliary()), torch.randn(IMAGE).double()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_head_used_only_in_training_is_cut_with_the_rest(auxiliary: tuple[nn.Module, Tensor], seed: int) -> None:
    model, x = auxiliary
    structure = trace(model, x)
    assert widths(structure) == {"stem.0": 8, "body.0": 6, "aux.0": 7, "aux.5": 10}
    masked, small = both(model, structure, seed)
    assert_same(masked, small, x)
    assert_same(masked, small, x, training=True)


def test_a_head_used_only_in_training_adds_no_macs(auxiliary: tuple[nn.Module, Tensor]) -> None:
    model, x = auxiliary
    structure = trace(model, x)
    keep = random_keep(structure, 1, 0.5)
    small = shrink(model, structure, keep).model
    assert structure.amount("macs") == count_macs(model.eval(), x[:1])
    assert structure.amount("macs", keep) == count_macs(small.eval(), x[:1])
    assert structure.amount("params", keep) == sum(p.numel() for p in small.parameters())
    assert structure.amount("bytes", keep) == sum(t.numel() * t.element_size() for t in small.state_dict().values())


def test_batches_of_one_are_doubled_where_batch_norm_needs_two() -> None:
    def forward(m: nn.Module, x: Tensor) -> Any:
        h = m.stem(x).relu()
        return (m.out(h), m.aux(m.norm(h))) if m.training else m.out(h)

    modules = {"stem": nn.Linear(5, 6), "norm": nn.BatchNorm1d(6), "aux": nn.Linear(6, 2), "out": nn.Linear(6, 3)}
    model = randomise(Function(forward, **modules))
    structure = trace(model, torch.randn(1, 5).double())
    assert widths(structure) == {"stem": 6}
    assert_same(*both(model, structure), torch.randn(4, 5).double(), training=True)


def test_what_is_computed_but_returned_only_in_training_is_silenced_there() -> None:
    def forward(m: nn.Module, x: Tensor) -> Any:
        h = m.stem(x).sigmoid()  # loud, so each of its readers is silenced by its own columns
        out, aux = m.out(h), m.last(m.aux(h).relu())
        return (out, aux) if m.training else out

    modules = {"stem": nn.Linear(5, 6), "aux": nn.Linear(6, 7), "last": nn.Linear(7, 2), "out": nn.Linear(6, 3)}
    model, x = randomise(Function(forward, **modules)), torch.randn(4, 5).double()
    structure = trace(model, x)
    assert widths(structure) == {"stem": 6, "aux": 7}
    masked, small = both(model, structure)
    assert_same(masked, small, x)
    assert_same(masked, small, x, training=True)


@pytest.mark.parametrize("follows", [True, False])
def test_a_size_that_only_training_code_fixes_is_tried_there(follows: bool) -> None:
    def forward(m: nn.Module, x: Tensor) -> Any:
        h = m.stem(x).relu()
        if not m.training:
            return m.out(h)
        if not follows and h.shape[1] != 6:
            raise ValueError("six, please")
        return m.out(h), m.aux(h.view(4, 6))

    modules = {"stem": nn.Linear(5, 6), "aux": nn.Linear(6, 2), "out": nn.Linear(6, 3)}
    model, x = randomise(Function(forward, **modules)), torch.randn(4, 5).double()
    structure = trace(model, x)
    assert widths(structure) == ({"stem": 6} if follows else {})
    if follows:
        assert_same(*both(model, structure), x, training=True)


def test_transformer_layers_with_dropout_and_layers_that_python_drops() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.TransformerEncoderLayer(12, 3, 10, 0.2, batch_first=True) for _ in "ab")
            self.out, self.aux = nn.Linear(12, 3), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Any:
            for layer in self.layers:
                if not self.training or random.random() + np.random.rand() < 1.5:  # noqa: NPY002
                    x = layer(x)
            return (self.out(x), self.aux(x)) if self.training else self.out(x)

    model, x = randomise(Dropping()), torch.randn(2, 5, 12).double()
    state = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index] # noqa: NPY002
    structure = trace(model, x)
    assert random.getstate() == state[0] and (np.random.get_state()[1] == state[1]).all()  # type: ignore[index] # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), state[2])
    expected = {f"layers.{i}.{part}": width for i in range(2) for part, width in (("self_attn", 3), ("linear1", 10))}
    assert widths(structure) == expected
    assert_same(*both(model, structure), x)


def test_code_that_writes_to_its_weights_in_training_leaves_the_models_own_alone() -> None:
    class Codebook(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code, self.aux, self.out = nn.Linear(5, 6), nn.Linear(6, 2), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Any:
            h = self.code(x).relu()
            if self.training:
                if float(x.sum()) != 0:  # read on real tensors
                    self.code.weight.data.mul_(0.5)
                return self.out(h), self.aux(h)
            return self.out(h)

    model, x = Codebook(), torch.randn(4, 5)
    before = copy.deepcopy(model.state_dict())
    structure = trace(model, x)
    shrink(model, structure, random_keep(structure, 0, 0.5)) if structure.atoms else None
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_where_the_model_does_not_train_on_the_inputs_equal_widths_are_left_alone() -> None:
    def forward(m: nn.Module, x: Tensor, y: Tensor | None = None) -> Any:
        h = m.stem(x).relu()
        out = m.out(m.hidden(h).relu())
        if m.training:
            assert y is not None, "targets, please"
            return F.mse_loss(m.aux(h), y)
        return out

    modules = {"stem": nn.Linear(5, 6), "hidden": nn.Linear(6, 7), "out": nn.Linear(7, 3), "aux": nn.Linear(6, 2)}
    model, x, y = randomise(Function(forward, **modules)), torch.randn(4, 5).double(), torch.randn(4, 2).double()
    structure = trace(model, x)
    assert widths(structure) == {"hidden": 7}
    assert "'aux'" in reasons(structure)["stem.weight[out]"]
    assert "targets, please" in reasons(structure)["stem.weight[out]"]
    structure = trace(model, x, also=[(x, y)])
    assert widths(structure) == {"stem": 6, "hidden": 7}
    masked, small = both(model, structure)
    assert_same(masked, small, x)
    assert_same(masked, small, (x, y), training=True)


def test_why_knows_what_each_run_did(auxiliary: tuple[nn.Module, Tensor]) -> None:
    structure = trace(*auxiliary)
    assert "out.weight[out] → linear (out) → output" in str(structure.why("out.weight[out]"))
    assert "last.3.weight[out] → linear (last.3) → output" in str(structure.why("last.3.weight[out]"))
    assert "conv2d (aux.0) ← aux.0.weight[in]" in str(structure.why("stem.0.weight[out]"))


def test_why_tells_what_fixes_a_place_in_each_run() -> None:
    def forward(m: nn.Module, x: Tensor) -> Any:
        h = m.mid(m.stem(x).relu())
        return m.aux(h.cumsum(-1)) if m.training else m.out(h.softmax(-1))

    modules = {"stem": nn.Linear(5, 6), "mid": nn.Linear(6, 7), "aux": nn.Linear(7, 2), "out": nn.Linear(7, 3)}
    structure = trace(Function(forward, **modules), torch.randn(4, 5))
    assert widths(structure) == {"stem": 6}
    for where, end in {"mid": "softmax", "out": "output", "aux": "output", "stem.weight[in]": "linear (stem)"}.items():
        place = where if "[" in where else f"{where}.weight[out]"
        assert f"→ {end}" in str(structure.why(place)), str(structure.why(place))


def test_draws_in_python_are_the_same_in_every_run() -> None:
    drawn = []
    for _ in "ab":
        with random_kept(()):
            drawn.append((random.random(), np.random.rand()))  # noqa: NPY002
    assert drawn[0] == drawn[1]


# -- branches on data ------------------------------------------------------------------------------------------------


def branching(reached: Callable[[Tensor], Any]) -> Function:
    """``cold`` runs where ``reached`` of the input is true."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        h = m.first(x).relu()
        branch = m.cold if reached(x) else m.warm
        return m.out(branch(h).relu())

    layers = {"first": nn.Linear(5, 8), "warm": nn.Linear(8, 6), "cold": nn.Linear(8, 6), "out": nn.Linear(6, 3)}
    return randomise(Function(forward, **layers))  # type: ignore[return-value]


@pytest.mark.parametrize(
    "reached",
    [
        lambda x: x.sum().item() < 0,
        lambda x: bool((x > 12).any()),
        lambda x: x.flatten().tolist()[0] < 0,
        lambda x: float(x.numpy()[0, 0]) < 0,
        lambda x: len(torch.nonzero(x < 0)) > 0,
        lambda x: x[x < 0].numel() > 0,
        lambda x: not x.any(),
    ],
)
def test_a_branch_that_other_values_reach_is_cut_with_the_rest(reached: Callable[[Tensor], Any]) -> None:
    model, x = branching(reached), torch.rand(4, 5).double() + 0.5
    assert not reached(x)
    structure = trace(model, x)
    assert widths(structure) == {"first": 8, "warm": 6}
    masked, small = both(model, structure)
    assert_same(masked, small, x, -x, 100 * x, torch.zeros_like(x))


def test_integers_are_permuted_and_drawn_within_their_range() -> None:
    def forward(m: nn.Module, ids: Tensor) -> Tensor:
        h = m.embed(ids)
        return m.out((m.cold if int(ids[0, 0]) == 2 else m.warm)(h))

    layers = {"embed": nn.Embedding(3, 8), "warm": nn.Linear(8, 6), "cold": nn.Linear(8, 6), "out": nn.Linear(6, 3)}
    model, ids = randomise(Function(forward, **layers)), torch.tensor([[0, 1, 2]])
    structure = trace(model, ids)
    assert widths(structure) == {"embed": 8, "warm": 6}
    assert_same(*both(model, structure), ids, ids.flip(1))


def test_a_branch_that_only_evaluation_takes_is_found() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        h = m.first(x).relu()
        return m.cold(h) if not m.training and x.sum() < 0 else m.out(h)

    layers = {"first": nn.Linear(5, 8), "out": nn.Linear(8, 3), "cold": nn.Linear(8, 3)}
    model, x = randomise(Function(forward, **layers)), torch.rand(4, 5).double()
    structure = trace(model, x)
    assert widths(structure) == {"first": 8} and [run.training for run in structure.runs] == [False]
    assert_same(*both(model, structure), x, -x)


def never(x: Tensor) -> bool:
    return x.sum().item() == 12345


def test_what_feeds_a_branch_that_is_not_reached_is_left_alone() -> None:
    model, x = branching(never), torch.randn(4, 5).double()
    structure = trace(model, x)
    assert structure.atoms == 0
    for where in ("first.weight[out]", "warm.weight[out]", "out.weight[in]", "cold.weight[in]"):
        assert "'cold'" in reasons(structure)[where] and "also=[inputs]" in reasons(structure)[where]
    with pytest.raises(StructureError, match="'cold'"):
        players(model, x)


def test_further_inputs_reach_it() -> None:
    model, x = branching(never), torch.randn(4, 5).double()
    rare = torch.full((3, 5), 12345 / 15).double()
    assert never(rare)
    structure = trace(model, x, also=[rare])
    assert widths(structure) == {"first": 8, "warm": 6}
    assert_same(*both(model, structure), x, rare)
    assert len(players(model, x, also=[rare])) == 14
    with pytest.raises(StructureError, match="list"):
        trace(model, x, also=rare)
    with pytest.raises(StructureError, match="does not run"):
        trace(model, x, also=[rare[:, :3]])


def test_a_statistic_of_an_unreached_branch_is_never_cut() -> None:
    """No width of ``cold`` equals one of the rest: only that it could read anything makes it unsafe."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        h = m.first(x).relu()
        return m.cold(h.mean(-1, keepdim=True)) if never(x) else m.out(h)

    layers = {"first": nn.Linear(5, 8), "out": nn.Linear(8, 3), "cold": nn.Linear(1, 3)}
    assert trace(Function(forward, **layers), torch.randn(4, 5)).atoms == 0


class Part(nn.Module):
    """Decides by itself; what it is given and what it returns have names of their own outside."""

    def __init__(self) -> None:
        super().__init__()
        self.warm, self.inner, self.cold = nn.Linear(8, 7), nn.Linear(7, 6), nn.Linear(8, 6)

    def forward(self, h: Tensor, skip: Tensor) -> Tensor:
        return self.cold(h) * skip.mean() if never(h) else self.inner(self.warm(h).relu())


def test_outside_the_module_that_decides_all_is_prunable() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU())
            self.part, self.after = Part(), nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))
            self.skip, self.past = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            skip = self.skip(x).relu()
            return self.after(self.part(self.before(x), skip).relu()) + self.past(skip)

    model, x = randomise(Whole()), torch.randn(4, 5).double()
    structure = trace(model, x)
    assert widths(structure) == {"before.0": 9, "after.0": 9}
    assert "'part.cold'" in reasons(structure)["before.2.weight[out]"]
    assert "'part.cold'" in reasons(structure)["part.warm.weight[out]"]
    assert "'part.cold'" in reasons(structure)["after.0.weight[in]"]
    assert "'part.cold'" in reasons(structure)["skip.weight[out]"]
    assert_same(*both(model, structure), x)


def test_a_decision_that_is_handed_on_reaches_whoever_gets_it() -> None:
    class Router(nn.Module):
        def forward(self, x: Tensor) -> bool:
            return never(x)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router, self.first, self.out, self.cold = Router(), nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x).relu()
            return self.cold(h) if self.router(x) else self.out(h)

    structure = trace(Whole(), torch.randn(4, 5))
    assert structure.atoms == 0 and "'cold'" in reasons(structure)["first.weight[out]"]


def test_values_that_decide_are_silenced_like_outputs() -> None:
    """The gate's result goes to Python alone; were its columns left, the masked network could take another way."""

    def forward(m: nn.Module, x: Tensor) -> Tensor:
        h = m.first(x).sigmoid()
        return m.out(h) if m.gate(h).sum() > 0 else -m.out(h)

    model = Function(forward, first=nn.Linear(5, 8), gate=nn.Linear(8, 2), out=nn.Linear(8, 3)).double()
    structure = trace(model, torch.randn(4, 5).double())
    assert widths(structure) == {"first": 8, "gate": 2}
    first = structure.family("first").atoms
    silencers = {(n, g.axis) for n, gates in structure.gates.items() for g in gates if np.isin(first, g.ids).any()}
    assert silencers == {("gate.weight", 1), ("out.weight", 1)}


class Experts(nn.Module):
    """Each example goes to one expert; some get none."""

    def __init__(self, experts: int = 3) -> None:
        super().__init__()
        self.route = nn.Linear(6, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 7 + i), nn.ReLU(), nn.Linear(7 + i, 6)) for i in range(experts)
        )

    def forward(self, h: Tensor) -> Tensor:
        best, out = self.route(h).argmax(-1), torch.zeros_like(h)
        for number, expert in enumerate(self.experts):
            chosen = best == number
            if chosen.nonzero().numel():
                out = out + expert(h) * chosen[:, None]
        return h + out


def test_experts_that_got_no_example_are_found() -> None:
    model = randomise(nn.Sequential(nn.Linear(5, 6), Experts(), nn.Linear(6, 3)))
    x = torch.randn(1, 5).double()
    structure = trace(model, x)
    found = {n: w for n, w in widths(structure).items() if "experts" in n}
    assert found == {"1.experts.0.0": 7, "1.experts.1.0": 8, "1.experts.2.0": 9}
    assert_same(*both(model, structure), x, -x, torch.randn(20, 5).double())


def test_an_expert_that_never_gets_one_fixes_its_neighbours_only() -> None:
    model = nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 6), Experts(), nn.Linear(6, 9), nn.ReLU())
    model = randomise(nn.Sequential(*model, nn.Linear(9, 3)))
    with torch.no_grad():
        model[3].route.bias[1] = -1e6
    structure = trace(model, torch.randn(4, 5).double())
    assert widths(structure) == {"0": 9, "4": 9}
    assert "'3.experts.1'" in reasons(structure)["2.weight[out]"]


# -- what is not used ------------------------------------------------------------------------------------------------


def test_parameters_that_no_mode_reads_are_fixed_and_the_rest_is_free() -> None:
    modules = {"first": nn.Linear(5, 8), "out": nn.Linear(8, 3), "left_over": nn.Linear(8, 8)}
    model = randomise(Function(lambda m, x: m.out(m.first(x).relu()), **modules))
    x = torch.randn(4, 5).double()
    structure = trace(model, x)
    assert widths(structure) == {"first": 8} and not structure.runs
    assert reasons(structure)["left_over.weight[in]"] == "its value does not reach the output"
    assert_same(*both(model, structure), x)


def test_checks_of_values_inside_a_module_do_not_fix_what_is_unused_outside_it() -> None:
    class Checked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if torch.isnan(x).any():
                raise ValueError("NaN")
            return x

    model = nn.Sequential(Checked(), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    model.left_over = nn.Linear(8, 8)
    assert widths(trace(Function(lambda m, x: m.net[:4](x), net=model), torch.randn(4, 5))) == {"net.1": 8}


def test_a_model_whose_parameters_are_all_read_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a further run")

    monkeypatch.setattr(paths, "reread", refuse)
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    assert trace(model, torch.randn(4, 5)).atoms == 8


# -- checks ----------------------------------------------------------------------------------------------------------


def forgetting(structure: Structure, *places: tuple[str, int]) -> Structure:
    """A structure that forgot to cut these."""
    structure.axes = {place: ids for place, ids in structure.axes.items() if place not in places}
    return structure


def test_the_cut_is_checked_on_the_way_that_other_values_take() -> None:
    model, x = branching(lambda x: x.sum().item() < 0), torch.rand(4, 5).double()
    structure = forgetting(trace(model, x), ("cold.weight", 1))
    with pytest.raises(StructureError, match="does not run"):
        shrink(model, structure, random_keep(structure, 0, 0.5))


def test_the_cut_is_checked_in_training_mode(auxiliary: tuple[nn.Module, Tensor]) -> None:
    model, x = auxiliary
    structure = forgetting(trace(model, x), ("aux.0.weight", 1))
    with pytest.raises(StructureError, match="does not run"):
        shrink(model, structure, random_keep(structure, 0, 0.5))
    assert shrink(model, structure, torch.ones(structure.atoms, dtype=torch.bool)).model is not model


def test_a_structure_computed_for_the_cut_network_is_checked_alike() -> None:
    model, x = branching(lambda x: x.sum().item() < 0), torch.rand(4, 5).double()
    structure = trace(model, x)
    keep = random_keep(structure, 0, 0.6)
    small, rest = shrink(model, structure, keep).model, structure.restrict(keep)
    masked, smaller = both(small, rest, 1)
    assert_same(masked, smaller, x, -x)
    with pytest.raises(StructureError, match="does not run"):
        shrink(small, forgetting(rest, ("cold.weight", 1)), random_keep(rest, 1, 0.5))


@pytest.mark.parametrize(
    "forward, words",
    [
        (lambda m, x: x + (m.cold if x.sum().item() < 0 else m.warm)(x), "looks at values"),
        (lambda m, x: x + (m.cold(m.warm(x)) if m.training else m.warm(x)), "only in training"),
    ],
)
def test_a_block_with_a_part_that_ran_elsewhere_is_none(forward: Callable[..., Tensor], words: str) -> None:
    plain = [Function(lambda m, x: x + m.a(x), a=nn.Linear(5, 5)) for _ in "ab"]
    partly = Function(forward, warm=nn.Linear(5, 5), cold=nn.Linear(5, 5))
    model = nn.Sequential(*plain, partly, nn.Linear(5, 3)).double()
    structure = trace(model, torch.rand(4, 5).double(), blocks=True)
    assert [m for f in structure.families if f.kind == "block" for m in f.members] == ["0", "1"]
    assert any(f.where == "2" and words in f.reason for f in structure.frozen if f.kind == "block")


# -- torchvision -----------------------------------------------------------------------------------------------------


def test_googlenet_trains_after_the_cut() -> None:
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.googlenet(weights=None, init_weights=False, num_classes=5).double()
    x = torch.randn(2, 3, 64, 64).double()
    structure = trace(model, x)
    assert widths(structure)["aux1.conv.conv"] == 128 and widths(structure)["aux2.fc1"] == 1024
    masked, small = both(model, structure)
    assert_same(masked, small, x)
    assert_same(masked, small, x, training=True)
    assert structure.amount("macs") == count_macs(model.eval(), x[:1])
