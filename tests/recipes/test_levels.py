"""Runs of several levels: counts by hand, nested masks, weights that restart bit for bit, and runs that continue."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateurs.criteria import Score
from secateurs.errors import BudgetError, RunError, UnknownNameError
from secateurs.partition import Players, players
from secateurs.recipes import LevelsRun, find_method, read_options
from secateurs.recipes.earlybird import EarlyBirdOptions, distance
from secateurs.recipes.tickets import LevelsOptions, redrawn
from secateurs.spec import Budget
from secateurs.storage import load_tree
from secateurs.training import Callback, Trainer
from secateurs.zoo import Data, build_model, load_data

STEPS = 40  # 4 epochs of 10


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.two, self.out = nn.Linear(64, 20), nn.BatchNorm1d(20), nn.Linear(20, 10), None
        self.out = nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.two(self.norm(self.one(x.flatten(1))).relu()).relu())


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("digits", limit=220, validation=0.08)


class Trace(Callback):
    """The weights and the mask at every step."""

    def __init__(self, run: LevelsRun) -> None:
        self.run = run
        self.before: dict[int, dict[str, Tensor]] = {}
        self.after: dict[int, dict[str, Tensor]] = {}
        self.masks: dict[int, Tensor] = {}
        self.rates: dict[int, float] = {}

    def before_step(self, trainer: Trainer) -> None:
        self.before[trainer.step] = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        self.masks[trainer.step] = self.run.mask.clone()
        self.rates[trainer.step] = trainer.optimizer.param_groups[0]["lr"]

    def after_step(self, trainer: Trainer, loss: float | None) -> None:
        self.after[trainer.step + 1] = {k: v.clone() for k, v in trainer.model.state_dict().items()}


def make(
    data: Data,
    method: str,
    granularity: str,
    budget: dict[str, float],
    folder: Path | None = None,
    run_class: Any = None,
    **options: Any,
) -> tuple[LevelsRun, Trainer]:
    model = net()
    row = find_method(method)
    given = read_options(row.options, method, {"lr": 1e-2, "optimizer": "adam", **options})
    found = players(model, data.example_inputs(2), granularity)
    run = (run_class or row.run)(found, Budget(**budget), given, STEPS, folder)
    trainer = Trainer(
        model, data, batch_size=20, seed=1, epochs=4, optimizer=run.optimizer, callbacks=[run], lr=run.rate,
        progress=False, out=folder, checkpoint_every=None,
    )  # fmt: skip
    assert trainer.total_steps == STEPS
    return run, trainer


def traced(data: Data, *args: Any, **options: Any) -> tuple[LevelsRun, Trainer, Trace]:
    run, trainer = make(data, *args, **options)
    trace = Trace(run)
    trainer.callbacks.append(trace)
    trainer.run()
    return run, trainer, trace


def held(run: LevelsRun, state: dict[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
    """A state under a mask of single weights."""
    out = dict(state)
    for layer in run.original.layers:
        out[layer.name] = state[layer.name] * mask[layer.start : layer.stop].view(state[layer.name].shape)
    return out


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# 64·20 + 20·10 + 10·10 = 1,580 single weights.


def test_levels_and_counts_of_lenet_by_hand() -> None:
    """(1 − 0.2)^3 of 266,200 weights: 212,960, then 170,368, then 136,294.4."""
    model = build_model("zoo:lenet-300-100", input_shape=(1, 28, 28))
    found = players(model, torch.zeros(2, 1, 28, 28), "weight")
    run = LevelsRun(found, Budget(groups=0.512), LevelsOptions(), 1000)
    assert run.levels == 3 and run.starts == [0, 250, 500, 750, 1000] and run.cut_step == 750
    run.scores = torch.rand(found.count, generator=torch.Generator().manual_seed(0))
    counts = []
    for level in (1, 2, 3):
        mask = run.select(level)
        assert not bool((mask & ~run.mask).any())
        run.mask = mask
        counts.append(int(mask.sum()))
    assert counts == [212_960, 170_368, 136_294]


@pytest.mark.parametrize(
    ("kept", "levels"), [(0.8, 1), (0.79, 2), (0.64, 2), (0.512, 3), (0.5, 4), (1.0, 1), (0.1, 11)]
)
def test_how_many_levels_a_budget_takes(kept: float, levels: int) -> None:
    found = players(net(), torch.randn(2, 1, 8, 8), "weight")
    assert LevelsRun(found, Budget(groups=kept), LevelsOptions(), 100).levels == levels


@pytest.mark.parametrize("score", ["magnitude", "random", "taylor"])
def test_masks_are_nested_exact_and_hold(score: str, data: Data) -> None:
    # Random scores do not know who has left.
    run, _, trace = traced(data, "imp", "weight", {"groups": 395}, levels=2, score=score)
    # 1580 → 395 in two levels: half each.
    assert run.starts == [0, 13, 27, 40]
    sizes = [int(trace.masks[s].sum()) for s in (0, 12, 13, 26, 27, 39)]
    assert sizes == [1580, 1580, 790, 790, 395, 395]
    first, last = trace.masks[13], trace.masks[27]
    assert not bool((last & ~first).any())
    for step in range(13, 40):
        state = trace.after[step + 1]
        assert same(state, held(run, state, trace.masks[step]))
    assert sum(int((trace.after[40][x.name] != 0).sum()) for x in run.original.layers) == 395
    assert [run.phase(s) for s in (0, 12, 13, 26, 27, 39)] == ["level 1"] * 2 + ["level 2"] * 2 + ["recovery"] * 2
    assert run.spans() == {"level 1": (0, 13), "level 2": (13, 27), "recovery": (27, 40)}
    assert [p.phase for p in run.history] == ["level 1", "level 2", "recovery", "recovery"]
    assert [p.active for p in run.history] == [1580, 790, 395, 395]


@pytest.mark.parametrize("rewind", [0.0, 0.5, 0.99, 4.0])
def test_tickets_start_where_the_network_was_at_step_k(data: Data, rewind: float) -> None:
    run, _, trace = traced(data, "imp", "weight", {"groups": 0.25}, levels=2, rewind=rewind)
    k = {0.0: 0, 0.5: 6, 0.99: 12, 4.0: 4}[rewind]  # the first training has 13 steps
    for start in run.starts[1:-1]:
        assert same(trace.before[start], held(run, trace.before[k], trace.masks[start]))
        assert not same(trace.before[start], held(run, trace.after[start], trace.masks[start]))


@pytest.mark.parametrize("method", ["imp-finetune", "lr-rewinding"])
def test_kept_weights_go_on_from_where_they_were(data: Data, method: str) -> None:
    run, _, trace = traced(data, method, "weight", {"groups": 0.25}, levels=2)
    for start in run.starts[1:-1]:
        assert same(trace.before[start], held(run, trace.after[start], trace.masks[start]))
    rates = [trace.rates[s] for s in (0, 5, 13, 18, 27)]
    if method == "imp-finetune":
        assert rates[2:] == pytest.approx([1e-3] * 3)
    else:  # the schedule begins again
        assert rates[2] == rates[0] == rates[4] and rates[3] == pytest.approx(rates[1], rel=0.1)


def test_reinit_gives_the_ticket_other_weights_of_the_same_kind(data: Data) -> None:
    _, _, trace = traced(data, "imp-reinit", "weight", {"groups": 0.25}, levels=2)
    _, _, plain = traced(data, "imp", "weight", {"groups": 0.25}, levels=2)
    assert same(trace.before[13], plain.before[13])  # levels rewind
    assert torch.equal(trace.masks[27], plain.masks[27])  # it is the ticket's mask
    fresh = redrawn(trace.before[0], ["one.weight"], 5)["one.weight"]
    assert not torch.equal(fresh, trace.before[0]["one.weight"])
    assert torch.equal(fresh.flatten().sort().values, trace.before[0]["one.weight"].flatten().sort().values)
    start, ticket = trace.before[27]["one.weight"], plain.before[27]["one.weight"]
    assert torch.equal(start != 0, ticket != 0) and not torch.isin(start[start != 0], ticket).all()


def test_a_tied_weight_is_drawn_anew_too(data: Data) -> None:
    """It is loaded under both of its names, and the original under one of them would undo the draw."""
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)
    second.weight = first.weight
    model = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(64, 10))
    found = players(model, data.example_inputs(2), "weight")
    row = find_method("imp-reinit")
    run = row.run(found, Budget(groups=0.5), read_options(row.options, "imp-reinit", {"levels": 1}), STEPS)
    trainer = Trainer(model, data, batch_size=20, seed=1, epochs=4, optimizer=run.optimizer, callbacks=[run])
    before = first.weight.detach().clone()
    run.past = {"0": {k: v.clone() for k, v in model.state_dict().items()}}
    run.restart(trainer, 1)
    assert second.weight is first.weight and not torch.equal(first.weight, before)
    assert torch.equal(first.weight.flatten().sort().values, before.flatten().sort().values)


def test_a_score_is_given_as_many_batches_as_it_asks_for(data: Data) -> None:
    """OBS a single one: it keeps the gradients of every example of it."""
    for score, options, batches in (("obs", {}, 1), ("obd", {}, 4), ("obs", {"calibration": 3}, 3)):
        run, trainer = make(data, "imp", "weight", {"groups": 0.5}, score=score, **options)
        assert len(run.signals(trainer, 1).batches) == batches


def test_the_random_mask_has_the_tickets_counts(data: Data) -> None:
    run, _, trace = traced(data, "imp-random", "weight", {"groups": 0.25}, levels=2)
    _, _, plain = traced(data, "imp", "weight", {"groups": 0.25}, levels=2)
    one, two = trace.masks[27], plain.masks[27]
    assert not torch.equal(one, two)
    for layer in run.original.layers:
        assert one[layer.start : layer.stop].sum() == two[layer.start : layer.stop].sum()
    assert same(trace.before[27], held(run, trace.before[0], one))


def test_layers_lose_the_same_share_and_the_last_half_of_it(data: Data) -> None:
    """1280, 200 and 100 weights, after two rounds of 40%, 40% and 20%: 460, 72 and 64; after one: 768, 120, 80."""
    settings = {"levels": 2, "allocation": "layerwise"}
    run, _, trace = traced(data, "imp", "weight", {"groups": 460 + 72 + 64}, **settings)
    counts = [[int(trace.masks[s][x.start : x.stop].sum()) for x in run.original.layers] for s in (13, 27)]
    assert counts == [[768, 120, 80], [460, 72, 64]]


@pytest.mark.parametrize("budget", [{"groups": 0.3}, {"params": 0.4}, {"groups": 0.5, "macs": 0.3}])
def test_groups_are_masked_between_levels_and_cut_out_at_the_end(data: Data, budget: dict[str, float]) -> None:
    run, trainer, trace = traced(data, "imp", "channel", budget, levels=3)
    for step in range(10, 30):
        mask, state = trace.masks[step], trace.after[step + 1]
        assert torch.equal(state["norm.weight"] != 0, mask[:20]) and torch.equal(state["two.bias"] != 0, mask[20:])
    model = trainer.model
    mask = run.mask
    assert (model.one.out_features, model.two.out_features) == (int(mask[:20].sum()), int(mask[20:].sum()))
    for name, target in run.targets.items():
        amounts = [run.original.amount(name, trace.masks[s]) for s in (0, 10, 20, 30)]
        dense = amounts[0]
        for level, amount in enumerate(amounts):
            assert amount <= dense * (target / dense) ** (level / 3) * (1 + 1e-9)
    if budget == {"groups": 0.3}:
        assert int(mask.sum()) == 9
    expected = trace.before[0]["one.weight"][mask[:20]]  # the ticket starts from the first weights of what is left
    assert torch.equal(trace.before[30]["one.weight"], expected)


def test_what_a_level_leaves_on_disk(data: Data, tmp_path: Path) -> None:
    _, _, trace = traced(data, "imp", "weight", {"groups": 395}, levels=2, folder=tmp_path)
    for level, start in ((1, 13), (2, 27)):
        tree = load_tree(tmp_path / f"level-{level:02d}.safetensors")
        assert same(tree["weights"], trace.after[start]) and torch.equal(tree["mask"], trace.masks[start])
        assert tree["kept"] == sum(tree["counts"].values()) == {1: 790, 2: 395}[level]
        assert (tree["level"], tree["step"]) == (level, start) and 0 <= tree["accuracy"] <= 1
        assert tree["amounts"] == {"groups": tree["kept"]}


METHODS = ["imp", "imp-finetune", "lr-rewinding", "imp-reinit", "imp-random", "early-bird"]


@pytest.mark.parametrize("granularity", ["weight", "channel"])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_stopped_anywhere_ends_the_same(
    method: str, granularity: str, data: Data, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"rewind": 3} if method == "early-bird" else {"rewind": 3, "levels": 2}
    if method == "early-bird":
        options |= {"look": 0.05, "window": 2, "distance": 1.0}  # it settles at the third look
    _, _, trace = traced(data, method, granularity, {"groups": 0.25}, **options)
    for stop in (2, 3, 8, 13, 14, 26, 27, 33):
        folder = tmp_path / str(stop)
        _, trainer = make(data, method, granularity, {"groups": 0.25}, folder, **options)
        trainer.run(stop=stop)
        run, trainer = make(data, method, granularity, {"groups": 0.25}, folder, **options)
        trainer.load_checkpoint()
        trainer.run()
        assert same(trainer.model.state_dict(), trace.after[40]), stop
        assert [p.active for p in run.history] == [p.active for p in trace.run.history]


class Scripted(Score):
    """Keeps whom a list says, look by look."""

    name, summary, source = "scripted", "", ""

    def __init__(self, kept: list[list[int]]) -> None:
        self.kept = list(kept)

    def __call__(self, found: Players, signals: Any) -> Tensor:
        scores = torch.zeros(found.count)
        scores[self.kept.pop(0) if len(self.kept) > 1 else self.kept[0]] = 1
        return scores


A, B = list(range(15)), list(range(15, 30))  # 20 + 10 channels, half of them stay; A and B have distance 1
C = [*range(14), 29]  # 2/30 = 0.067 from A


@pytest.mark.parametrize(
    ("looks", "stop"),
    [
        ([A, A, A, A, A], 8),  # the fourth look is the first with three before it
        ([A, B, A, B, A, A, A, A], 16),
        ([A, C, A, C], 8),
        ([A, A, B, A, A, A, A], 14),  # one that differs is remembered for three looks
        ([A, B], None),
    ],
    ids=["stable", "late", "within", "blip", "never"],
)
def test_early_bird_stops_at_the_first_stable_masks(looks: list[list[int]], stop: int | None, data: Data) -> None:
    script = looks if stop is not None else [A, B] * 20
    run, trainer = make(data, "early-bird", "channel", {"groups": 0.5}, window=3, look=0.05, latest=0.75)
    run.score = Scripted(script)
    trainer.run()
    assert run.cut_step == (stop or 30)
    assert run.spans() == {"search": (0, run.cut_step), "recovery": (run.cut_step, STEPS)}
    assert int(run.mask.sum()) == 15 and len(run.looks) <= 3


def test_an_early_bird_that_cannot_settle_says_so(data: Data) -> None:
    """Looks at steps 10 and at none after it before step 20; from 2 on in steps of 2 there are nine."""
    _, trainer = make(data, "early-bird", "channel", {"groups": 0.5})
    with pytest.warns(UserWarning, match="will look 1 times before step 20, and settles by comparing 6 masks"):
        trainer.callbacks[0].on_start(trainer)
    _, trainer = make(data, "early-bird", "channel", {"groups": 0.5}, look=0.05, window=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.callbacks[0].on_start(trainer)


def test_distance_by_hand() -> None:
    one, other = torch.tensor([1, 1, 0, 0, 1]).bool(), torch.tensor([1, 0, 1, 0, 1]).bool()
    assert distance(one, other) == pytest.approx(0.4)


def test_the_search_is_the_beginning_of_a_normal_training(data: Data) -> None:
    run, _, trace = traced(data, "early-bird", "channel", {"groups": 0.5}, look=0.05, window=2, distance=1.0)
    assert run.cut_step == 6
    plain = EarlyBirdOptions().dense_rate(STEPS)
    assert [trace.rates[s] for s in range(6)] == pytest.approx([1e-2 * plain(s) for s in range(6)])
    own = EarlyBirdOptions().dense_rate(STEPS - 6)
    assert [trace.rates[s] for s in range(6, 40)] == pytest.approx([1e-2 * own(s - 6) for s in range(6, 40)])


def test_what_cannot_be_done_is_said(data: Data) -> None:
    with pytest.raises(RunError, match=r"40 levels need 41 trainings .* this run has 40 steps"):
        make(data, "imp", "weight", {"groups": 0.5}, levels=40)
    with pytest.raises(BudgetError, match="cannot be reached"):  # and not that it would take more levels than steps
        make(data, "imp", "channel", {"params": 1e-5})
    with pytest.raises(RunError, match="rewind=13 is no step of the first training, which has 13"):
        make(data, "imp", "weight", {"groups": 0.5}, levels=2, rewind=13)
    with pytest.raises(UnknownNameError, match="magnitude"):
        make(data, "imp", "weight", {"groups": 0.5}, score="magnitud")
