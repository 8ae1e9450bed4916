"""What every rule of participation owes, whatever it does in between."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateurs import Budget
from secateurs.dynamics import DYNAMICS, Budgeted, Participating
from secateurs.errors import RunError
from secateurs.partition import Players
from secateurs.storage import load_tree, save_tree

from .nets import batch, conv_bn, cross_entropy, find, mlp

WARMUP, HORIZON = 2, 20
END = WARMUP + HORIZON
WIDE = (6, 10, 8, 3)
MASKED = {"gradual", "l1-prox", "set", "rigl", "straight-through"}  # participation is a mask that follows the budget
DRAWN = {"l0", "set", "rigl"}

NETS: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda seed: mlp(seed, WIDE), (6,)),
    "conv": (conv_bn, (2, 6, 6)),
}
MAKE: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": lambda p: torch.optim.Adam(p, 0.02, weight_decay=1e-3),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
}


class Setting:
    """A rule around an optimizer over a small network, and a loop."""

    def __init__(
        self,
        name: str,
        granularity: str,
        net: str = "mlp",
        make: str = "adam",
        model: nn.Module | None = None,
        **kw: Any,
    ) -> None:
        build, self.shape = NETS[net]
        self.model = model if model is not None else build(0)
        budget = kw.pop("budget", Budget(params=0.4))
        self.players: Players = find(self.model, batch(self.shape)[0], granularity)
        every = {"every": 3} if "every" in DYNAMICS[name].Settings.model_fields else {}
        self.rule: Budgeted = DYNAMICS[name](budget, warmup=WARMUP, horizon=HORIZON, **{**every, **kw})
        self.optimizer: Participating = self.rule.wrap(MAKE[make](self.model.parameters()), self.players)

    def train(self, start: int, stop: int, after: Callable[[], None] = lambda: None) -> Setting:
        for k in range(start, stop):
            self.optimizer.zero_grad()
            cross_entropy(self.model, *batch(self.shape, seed=k)).backward()
            self.optimizer.step()
            after()
        return self

    def silent(self, keep: Tensor) -> bool:
        """Whether whoever is not in ``keep`` is zero in the network that runs."""
        gates = self.players.gates
        held = [p.detach().clone() for p in gates.parameters]
        gates.scaled(held, keep.to(held[0]), out=held)
        return all(torch.equal(a, b) for a, b in zip(held, gates.parameters))


@pytest.fixture(params=sorted(DYNAMICS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def _says_what_it_is(kind: type[Budgeted]) -> bool:
    return bool(kind.summary and kind.source and kind.cost and kind.needs and kind.__doc__)


def test_every_rule_says_what_it_is(name: str) -> None:
    kind = DYNAMICS[name]
    assert kind.name == name and _says_what_it_is(kind)
    documented = "".join(c.__doc__ or "" for c in kind.Settings.__mro__)
    assert all(f"{field}:" in documented or f"{field}," in documented for field in kind.Settings.model_fields)


@pytest.mark.parametrize("granularity", ["channel", "weight"])
class TestEveryRule:
    @pytest.mark.parametrize("net", sorted(NETS))
    @pytest.mark.parametrize("make", sorted(MAKE))
    def test_participation_is_a_share_and_the_budget_holds(
        self, name: str, granularity: str, net: str, make: str
    ) -> None:
        run = Setting(name, granularity, net, make)
        target = 0.4 * run.players.amount("params")

        def look() -> None:
            s = run.optimizer.s
            assert bool(((s >= 0) & (s <= 1)).all()) and bool(s.isfinite().all())
            if name in MASKED:
                assert bool(((s == 0) | (s == 1)).all()) and run.silent(s > 0)
                if run.optimizer.steps >= END or name in ("set", "rigl"):
                    assert run.players.amount("params", s > 0) <= target

        run.train(0, END + 4, look)
        before = [p.detach().clone() for p in run.model.parameters()]
        small = run.optimizer.harvest()
        kept = run.optimizer.kept
        assert run.players.amount("params", kept) <= target
        for layer in run.players.layers:  # nobody who left could have stayed
            left = torch.nonzero(~kept[layer.start : layer.stop]).flatten()
            if left.numel():
                more = kept.clone()
                more[layer.start + left[0]] = True
                assert run.players.amount("params", more) > target
        if name in MASKED:
            assert bool((kept | (run.optimizer.s == 0)).all())
        assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters()))  # the live one was left alone
        self._is_the_masked_network(run, small)

    @staticmethod
    def _is_the_masked_network(run: Setting, small: nn.Module) -> None:
        """The harvested network computes what the live one does once those who left are silent."""
        masked, gates, o = copy.deepcopy(run.model), run.players.gates, run.optimizer
        s = run.rule.final(run.players, o.state_of, o.s) * o.kept
        held = [dict(masked.named_parameters())[n].data for n in gates.names]
        gates.scaled(o.weights.raw, s, out=held)
        x, _ = batch(run.shape, seed=77)
        torch.testing.assert_close(small.eval()(x), masked.eval()(x), rtol=0, atol=1e-10)

    @pytest.mark.parametrize("kept", ["all", "minimum"])
    def test_nothing_is_removed_and_all_but_the_minimum(self, name: str, granularity: str, kept: str) -> None:
        least = len(find(mlp(0, WIDE), batch((6,))[0], granularity).layers)
        run = Setting(name, granularity, budget=Budget(groups=1.0 if kept == "all" else least)).train(0, END)
        run.optimizer.harvest()
        assert int(run.optimizer.kept.sum()) == (run.players.count if kept == "all" else least)
        if kept == "all" and name in MASKED:
            assert bool((run.optimizer.s == 1).all()) and torch.equal(
                run.model[0].weight, plain(run, granularity)[0].weight
            )

    def test_equal_seeds_give_equal_runs(self, name: str, granularity: str) -> None:
        settings = [{}, {}, {"seed": 1}] if name in DRAWN else [{}, {}]
        torch.manual_seed(5)
        first, second, *other = [Setting(name, granularity, **kw).train(0, END) for kw in settings]
        assert torch.equal(first.optimizer.s, second.optimizer.s)
        assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters()))
        assert all(not torch.equal(first.optimizer.s, o.optimizer.s) for o in other)
        seen = torch.get_rng_state()
        first.train(END, END + 3)
        assert torch.equal(seen, torch.get_rng_state())  # nothing is drawn from the user's stream

    @pytest.mark.parametrize("pause", [1, 11, END])
    @pytest.mark.parametrize("make", sorted(MAKE))
    def test_saved_and_loaded_is_the_uninterrupted_run(
        self, name: str, granularity: str, make: str, pause: int, tmp_path: Any
    ) -> None:
        whole = Setting(name, granularity, make=make).train(0, END + 3)
        first = Setting(name, granularity, make=make).train(0, pause)
        save_tree(tmp_path / "state", first.optimizer.state_dict() | {"weights": first.model.state_dict()})
        tree = load_tree(tmp_path / "state")
        again = Setting(name, granularity, make=make, model=mlp(9, WIDE))
        again.model.load_state_dict(tree.pop("weights"))
        again.optimizer.load_state_dict(tree)
        again.train(pause, END + 3)
        assert torch.equal(again.optimizer.s, whole.optimizer.s)
        assert again.optimizer.state_of.keys() == whole.optimizer.state_of.keys()
        assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), whole.model.parameters()))
        again.optimizer.harvest(), whole.optimizer.harvest()
        assert torch.equal(again.optimizer.kept, whole.optimizer.kept)

    def test_an_early_harvest_is_refused(self, name: str, granularity: str) -> None:
        run = Setting(name, granularity).train(0, END - 1)
        with pytest.raises(RunError, match=rf"{name} .* {END}.* this is step {END - 1}.*early=True"):
            run.optimizer.harvest()
        assert run.optimizer.harvest(early=True) is not run.model
        assert run.players.amount("params", run.optimizer.kept) <= 0.4 * run.players.amount("params")
        run.train(END - 1, END).optimizer.harvest(inplace=True)
        with pytest.raises(RunError, match="already"):
            run.optimizer.harvest()
        kept = run.optimizer.kept
        last = run.train(END, END + 5)  # the same optimizer goes on, and plays no more
        assert torch.equal(last.optimizer.kept, kept) and not last.optimizer.active

    @pytest.mark.parametrize("make", sorted(MAKE))
    def test_what_left_in_place_stays_away_and_the_state_can_be_loaded(
        self, name: str, granularity: str, make: str, tmp_path: Any
    ) -> None:
        """Gradients, momentum and Adam's second moments would bring single weights back; groups are not there."""
        run = Setting(name, granularity, make=make).train(0, END)
        run.optimizer.harvest(inplace=True)
        kept = run.optimizer.kept
        run.train(END, END + 3)
        save_tree(tmp_path / "state", run.optimizer.state_dict() | {"weights": run.model.state_dict()})
        tree = load_tree(tmp_path / "state")
        again = Setting(name, granularity, make=make, model=mlp(9, WIDE))
        again.optimizer.compact_to(tree["alive"])
        again.model.load_state_dict(tree.pop("weights"))
        again.optimizer.load_state_dict(tree)
        assert not again.optimizer.active
        run.train(END + 3, END + 6), again.train(END + 3, END + 6)
        assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), run.model.parameters()))
        if granularity == "weight":
            there = torch.cat([p.detach().flatten() for p in run.players.gates.parameters]) != 0
            assert not bool((there & ~kept).any()) and int(there.sum()) > 0.5 * int(kept.sum())

    def test_an_overflow_skips_the_whole_step(self, name: str, granularity: str) -> None:
        model, (x, y) = mlp(0, WIDE, torch.float32), batch((6,))
        x = x.float()
        rule = DYNAMICS[name](Budget(params=0.4), warmup=0, horizon=5)
        optimizer = rule.wrap(torch.optim.Adam(model.parameters(), 0.02), find(model, x, granularity))
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
        for k, factor in enumerate((1.0, torch.inf, 1.0)):
            before = [p.detach().clone() for p in model.parameters()], optimizer.s.clone(), optimizer.steps
            optimizer.zero_grad()
            scaler.scale(cross_entropy(model, x, y) * factor).backward()
            scaler.step(optimizer)
            scaler.update()
            same = all(torch.equal(a, b) for a, b in zip(before[0], model.parameters()))
            assert same == (k == 1) and optimizer.steps == before[2] + (k != 1)
            assert k != 1 or torch.equal(before[1], optimizer.s)

    def test_renaming_neurons_renames_who_stays(self, name: str, granularity: str) -> None:
        if name in DRAWN:
            pytest.skip("draws for players by their number")
        order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
        renamed = mlp(0, WIDE)
        with torch.no_grad():
            renamed[0].weight.copy_(renamed[0].weight[order].clone())
            renamed[0].bias.copy_(renamed[0].bias[order].clone())
            renamed[2].weight.copy_(renamed[2].weight[:, order].clone())
        runs = [Setting(name, granularity, model=m).train(0, END) for m in (mlp(0, WIDE), renamed)]
        for run in runs:
            run.optimizer.harvest()
        before, after = (run.optimizer.kept for run in runs)
        if granularity == "channel":
            expected = torch.cat([before[:10][order], before[10:]])
        else:
            a, b, c = before.split([60, 80, 24])
            expected = torch.cat([a.view(10, 6)[order].flatten(), b.view(8, 10)[:, order].flatten(), c])
        assert torch.equal(after, expected) and not torch.equal(after, before)


def plain(run: Setting, granularity: str) -> nn.Module:
    """The same network and steps without any rule; decay on gate slices as the rule has it."""
    model = mlp(0, WIDE)
    gated = {id(p) for p in find(model, batch((6,))[0], granularity).gates.parameters}
    groups = [
        {"params": [p for p in model.parameters() if id(p) in gated], "weight_decay": 1e-3 if run.rule.decays else 0.0},
        {"params": [p for p in model.parameters() if id(p) not in gated]},
    ]
    optimizer = MAKE["adam"](groups)
    for k in range(END):
        optimizer.zero_grad()
        cross_entropy(model, *batch((6,), seed=k)).backward()
        optimizer.step()
    return model
