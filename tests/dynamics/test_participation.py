"""The wrapped step against the design written out by hand, and against what users do around optimizers."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

from secateurs import Budget, Equilibrium, MarketSettings, Utility
from secateurs.dynamics import FixedPrices, Gradual, Market, Participating
from secateurs.errors import RunError, StructureError
from secateurs.partition import Players
from secateurs.storage import load_tree, save_tree

from .nets import batch, conv_bn, cross_entropy, find, mlp, residual

PRICES = Utility(alpha=1.3, beta=0.02, gamma=0.01, eta=0.03)
PLAIN = Utility(gamma=0.03)  # needs no sums over θ, which takes the fused way through the step
RATE = 0.05
WIDTHS = (6, 5, 4, 3)

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.3, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "foreach": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, foreach=True),
    "adam": lambda p: torch.optim.Adam(p, 0.02, weight_decay=0.1, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.02, weight_decay=0.3),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5, weight_decay=0.1),
}


class ByHand:
    """DESIGN's step for a float64 MLP whose hidden neurons play; every sum is a loop over players.

    A neuron's gate slices are its row and its bias; nothing is shared with the library but torch's optimizer, which
    steps θ itself here and so never sees θ̃.
    """

    def __init__(
        self, make: Callable[[Any], torch.optim.Optimizer], gauge: str, updates: str, prices: Utility = PRICES
    ) -> None:
        self.prices = prices
        self.theta = [nn.Parameter(p.detach().clone()) for p in mlp().parameters()]
        self.sizes = WIDTHS[1:-1]
        self.s = [[1.0] * n for n in self.sizes]
        self.radius = [[self.norm(k, g) for g in range(n)] for k, n in enumerate(self.sizes)]
        decayed, gated = self.theta[-2:], self.theta[:-2]
        self.optimizer = make([{"params": gated, "weight_decay": 0.0}, {"params": decayed}])
        self.gauge, self.updates = gauge, updates

    def slices(self, k: int, g: int) -> list[Tensor]:
        return [self.theta[2 * k].data[g], self.theta[2 * k + 1].data[g]]

    def norm(self, k: int, g: int) -> float:
        return sum(float(t.square().sum()) for t in self.slices(k, g)) ** 0.5

    def effective(self) -> list[Tensor]:
        out = [t.detach().clone() for t in self.theta]
        for k, row in enumerate(self.s):
            for g, s in enumerate(row):
                out[2 * k][g] *= s
                out[2 * k + 1][g] *= s
        return out

    def loss(self, weights: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        for k in range(0, len(weights) - 2, 2):
            x = (x @ weights[k].T + weights[k + 1]).relu()
        return nn.functional.cross_entropy(x @ weights[-2].T + weights[-1], y)

    def slope(self, grads: list[Tensor]) -> list[list[float]]:
        return [
            [
                sum(float((a * b[g]).sum()) for a, b in zip(self.slices(k, g), grads[2 * k : 2 * k + 2]))
                for g in range(n)
            ]
            for k, n in enumerate(self.sizes)
        ]

    def gradients(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor]:
        weights = [w.requires_grad_() for w in self.effective()]
        loss = self.loss(weights, x, y)
        return list(torch.autograd.grad(loss, weights)), loss.detach()

    def chain(self, grads: list[Tensor]) -> None:
        for i, (theta, grad) in enumerate(zip(self.theta, grads)):
            theta.grad = grad.clone()
            if i // 2 < len(self.sizes):
                for g, s in enumerate(self.s[i // 2]):
                    theta.grad[g] *= s

    def step(self, x: Tensor, y: Tensor) -> None:
        grads, _ = self.gradients(x, y)
        slope = self.slope(grads)
        self.chain(grads)
        self.optimizer.step()
        self.finish(slope, grads)

    def closure_step(self, x: Tensor, y: Tensor) -> None:
        first: list[Any] = []

        def closure() -> Tensor:
            grads, loss = self.gradients(x, y)
            if not first:
                first.extend([self.slope(grads), grads])
            self.chain(grads)
            return loss

        self.optimizer.step(closure)  # type: ignore[arg-type]
        self.finish(*first)

    def finish(self, slope: list[list[float]], grads: list[Tensor]) -> None:
        if self.gauge == "norm":
            for k, n in enumerate(self.sizes):
                for g in range(n):
                    factor = min(1.0, self.radius[k][g] / self.norm(k, g))
                    for t in (self.theta[2 * k].data, self.theta[2 * k + 1].data):
                        t[g] *= factor
        if self.updates == "alternating":
            slope = self.slope(grads)
        new = []
        for k, row in enumerate(self.s):
            new.append([])
            for g, s in enumerate(row):
                rivalry = sum(
                    row[j] * sum(float((a * b).sum()) for a, b in zip(self.slices(k, g), self.slices(k, j)))
                    for j in range(len(row))
                    if j != g
                )
                u = self.prices
                cost = 2 * u.beta * self.norm(k, g) ** 2 * s + u.gamma + u.eta * rivalry
                ascent = -u.alpha * slope[k][g] - cost
                new[k].append(min(1.0, max(0.0, s + RATE * ascent)))
        self.s = new


def game(
    model: nn.Module, x: Tensor, make: Callable[[Any], torch.optim.Optimizer], prices: Utility = PRICES, **kw: Any
) -> Participating:
    dynamics = FixedPrices(prices, RATE)
    dynamics.uses_sums = prices is not PLAIN
    return Participating(make(model.parameters()), find(model, x), dynamics, **kw)


def step(optimizer: Any, model: nn.Module, x: Tensor, y: Tensor) -> float:
    optimizer.zero_grad()
    loss = cross_entropy(model, x, y)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def assert_follows(hand: ByHand, optimizer: Participating, model: nn.Module) -> None:
    expected = torch.tensor([s for row in hand.s for s in row], dtype=torch.float64)
    torch.testing.assert_close(optimizer.s, expected, rtol=0, atol=1e-12)
    for ours, theirs in zip(model.parameters(), hand.effective()):
        torch.testing.assert_close(ours.detach(), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prices", [PRICES, PLAIN], ids=["prices", "plain"])
@pytest.mark.parametrize("gauge", ["norm", "none"])
@pytest.mark.parametrize("updates", ["simultaneous", "alternating"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_step_is_the_designs(name: str, updates: Any, gauge: Any, prices: Utility) -> None:
    model, (x, y) = mlp(), batch((6,))
    hand = ByHand(OPTIMIZERS[name], gauge, updates, prices)
    optimizer = game(model, x, OPTIMIZERS[name], prices, gauge=gauge, updates=updates)
    assert optimizer.s.dtype == torch.float64
    for k in range(12):
        x, y = batch((6,), seed=k)
        hand.step(x, y)
        step(optimizer, model, x, y)
        assert_follows(hand, optimizer, model)
    assert 0 < float(optimizer.s.min()) < 0.99  # it did move


@pytest.mark.parametrize("updates", ["simultaneous", "alternating"])
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_sees_theta_and_its_closure_the_effective_weights(search: str | None, updates: Any) -> None:
    def make(params: Any) -> torch.optim.Optimizer:
        params = [p for g in params for p in g["params"]] if isinstance(params, list) else params
        return torch.optim.LBFGS(params, 0.3, max_iter=4, line_search_fn=search)

    model, (x, y) = mlp(), batch((6,))
    hand, optimizer = ByHand(make, "norm", updates), game(model, x, make, updates=updates)
    for _ in range(4):

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = cross_entropy(model, x, y)
            loss.backward()
            return loss

        before = float(closure().detach())
        assert float(optimizer.step(closure).detach()) == pytest.approx(before, abs=1e-12)
        hand.closure_step(x, y)
        assert_follows(hand, optimizer, model)


def test_the_forward_always_sees_the_same_storage_and_objects() -> None:
    model, (x, y) = mlp(), batch((6,))
    optimizer = game(model, x, OPTIMIZERS["adamw"])
    before = [(id(p), p.data_ptr()) for p in model.parameters()]
    for _ in range(3):
        step(optimizer, model, x, y)
        assert [(id(p), p.data_ptr()) for p in model.parameters()] == before
    assert not any(hasattr(m, "_forward_hooks") and m._forward_hooks for m in model.modules())


def test_only_gate_slices_escape_weight_decay_and_groups_are_left_as_they_were() -> None:
    model, (x, _) = mlp(), batch((6,))
    params = list(model.parameters())
    inner = torch.optim.AdamW(
        [{"params": params[:3], "lr": 0.1, "mine": 7}, {"params": params[3:]}], 0.1, weight_decay=0.5
    )
    optimizer = Participating(inner, find(model, x), FixedPrices(Utility(), 0.0), gauge="none")
    before = [p.detach().clone() for p in params]
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, b in zip(params[:4], before):  # rows and biases of hidden neurons
        assert torch.equal(p, b)
    for p, b in zip(params[4:], before[4:]):
        torch.testing.assert_close(p.detach(), b * (1 - 0.1 * 0.5))
    assert [len(g["params"]) for g in inner.param_groups] == [3, 3] and inner.param_groups[0]["mine"] == 7
    assert all(g["weight_decay"] == 0.5 for g in inner.param_groups)


def test_optimizers_that_count_in_their_groups() -> None:
    class Counting(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                group["k"] = group.get("k", 0) + 1
            return super().step(closure)

    model, (x, y) = mlp(), batch((6,))
    optimizer = game(model, x, lambda p: Counting(p, 0.1, weight_decay=0.1))
    for _ in range(3):
        step(optimizer, model, x, y)
    assert optimizer.param_groups[0]["k"] == 3


SCHEDULERS = {
    "step": lambda o: StepLR(o, 2, 0.5),
    "onecycle": lambda o: OneCycleLR(o, 0.2, total_steps=8),
    "plateau": lambda o: ReduceLROnPlateau(o, patience=0, factor=0.5),
}


@pytest.mark.parametrize("after", [True, False], ids=["made-after", "made-before"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers(name: str, after: bool, recwarn: pytest.WarningsRecorder) -> None:
    model, (x, y) = mlp(), batch((6,))
    inner = OPTIMIZERS["momentum"](model.parameters())
    if after:
        optimizer = Participating(inner, find(model, x), FixedPrices(PRICES, RATE))
        scheduler = SCHEDULERS[name](optimizer)
    else:
        scheduler = SCHEDULERS[name](inner)
        optimizer = Participating(inner, find(model, x), FixedPrices(PRICES, RATE))
    hand = ByHand(OPTIMIZERS["momentum"], "norm", "simultaneous")
    other = SCHEDULERS[name](hand.optimizer)
    rates = set()
    for k in range(7):
        step(optimizer, model, x, y)
        hand.step(x, y)
        for s in (scheduler, other):
            s.step(float(k)) if name == "plateau" else s.step()
        rates.add(optimizer.param_groups[0]["lr"])
        assert_follows(hand, optimizer, model)
    assert len(rates) > 2
    assert not [w for w in recwarn if "lr_scheduler" in str(w.message)]  # it saw our step


@pytest.mark.parametrize("fused", [False, True])
def test_grad_scaler_scales_nothing_that_the_game_sees(fused: bool) -> None:
    def run(scaled: bool) -> Participating:
        model, (x, y) = mlp(dtype=torch.float32), batch((6,))
        x = x.float()
        optimizer = game(model, x, lambda p: torch.optim.Adam(p, 0.02, fused=fused))
        scaler = torch.amp.GradScaler("cpu", init_scale=4096.0, enabled=scaled)
        for _ in range(5):
            optimizer.zero_grad()
            scaler.scale(cross_entropy(model, x, y)).backward()
            scaler.step(optimizer)
            scaler.update()
        return optimizer

    torch.testing.assert_close(run(True).s, run(False).s, rtol=0, atol=1e-6)


def test_an_overflow_skips_the_whole_step() -> None:
    model, (x, y) = mlp(dtype=torch.float32), batch((6,))
    optimizer = game(model, x.float(), OPTIMIZERS["adam"])
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
    before = [p.detach().clone() for p in model.parameters()]
    scaler.scale(cross_entropy(model, x.float(), y) * torch.inf).backward()
    scaler.step(optimizer)
    scaler.update()
    assert optimizer.steps == 0 and bool((optimizer.s == 1).all()) and scaler.get_scale() == 8
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before))


def test_autocast_bf16() -> None:
    model, (x, y) = mlp(dtype=torch.float32), batch((6,))
    exact, x = copy.deepcopy(model), x.float()
    a, b = game(model, x, OPTIMIZERS["sgd"]), game(exact, x, OPTIMIZERS["sgd"])
    for _ in range(5):
        a.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(model, x, y)
        loss.backward()
        a.step()
        step(b, exact, x, y)
    assert a.s.dtype == torch.float32 and float((a.s - b.s).abs().max()) < 5e-3
    assert not torch.equal(a.s, b.s)


def test_accumulated_halves_are_one_batch_and_clipping_comes_before_the_step() -> None:
    whole, halves, (x, y) = mlp(), mlp(), batch((6,))
    a, b = game(whole, x, OPTIMIZERS["adam"]), game(halves, x, OPTIMIZERS["adam"])
    for _ in range(5):
        a.zero_grad()
        cross_entropy(whole, x, y).backward()
        nn.utils.clip_grad_norm_(whole.parameters(), 0.1)
        a.step()
        b.zero_grad()
        for half in (slice(0, 4), slice(4, 8)):
            (cross_entropy(halves, x[half], y[half]) / 2).backward()
        nn.utils.clip_grad_norm_(halves.parameters(), 0.1)
        b.step()
    torch.testing.assert_close(a.s, b.s, rtol=0, atol=1e-12)
    free, c = mlp(), None
    c = game(free, x, OPTIMIZERS["adam"])
    for _ in range(5):
        step(c, free, x, y)
    assert not torch.allclose(a.s, c.s)  # clipped slopes are smaller


def test_accelerate_prepares_it_like_any_optimizer() -> None:
    from accelerate import Accelerator

    plain, prepared, (x, y) = mlp(), mlp(), batch((6,))
    a = game(plain, x, OPTIMIZERS["adam"])
    inner = game(prepared, x, OPTIMIZERS["adam"])
    accelerator = Accelerator(cpu=True)
    model, b = accelerator.prepare(prepared, inner)
    for _ in range(4):
        step(a, plain, x, y)
        b.zero_grad()
        accelerator.backward(cross_entropy(model, x, y))
        accelerator.clip_grad_norm_(model.parameters(), 1e9)
        b.step()
    assert torch.equal(a.s, inner.s) and inner.steps == 4
    torch.testing.assert_close(list(plain.parameters()), list(prepared.parameters()))


def test_a_compiled_forward() -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler for its default backend")
    plain, compiled, (x, y) = mlp(), mlp(), batch((6,))
    a, b = game(plain, x, OPTIMIZERS["adam"]), game(compiled, x, OPTIMIZERS["adam"])
    forward = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    counter = torch._dynamo.utils.counters
    for k in range(4):
        step(a, plain, x, y)
        step(b, forward, x, y)
        if k == 0:
            graphs = counter["stats"]["unique_graphs"]
    torch.testing.assert_close(a.s, b.s, rtol=0, atol=1e-12)
    assert counter["stats"]["unique_graphs"] == graphs  # moving s recompiles nothing


def market(model: nn.Module, x: Tensor, **kw: Any) -> Participating:
    settings = MarketSettings(**{"warmup": 2, "horizon": 20, "rate": 3.5, **kw})  # so fast that players leave soon
    optimizer = torch.optim.AdamW(model.parameters(), 0.02, weight_decay=0.1)
    return Equilibrium(find(model, x), Budget(groups=0.4), market=settings).wrap(optimizer)


WIDE = (6, 10, 8, 3)


def _play(model: nn.Module, optimizer: Participating, start: int, stop: int) -> None:
    for k in range(start, stop):
        step(optimizer, model, *batch((6,), seed=k))
        if k in (12, 18):
            leaving = optimizer.idlers(2)
            if bool(leaving.any()):
                optimizer.compact(~leaving)


@pytest.mark.parametrize("pause", [5, 15, 22])
def test_saved_and_loaded_mid_run_is_the_uninterrupted_run(pause: int, tmp_path: Any) -> None:
    """At 15 and 22 the model has been compacted; the fresh one is cut first, then filled."""
    x, _ = batch((6,))
    whole = mlp(widths=WIDE)
    reference = market(whole, x)
    _play(whole, reference, 0, 26)
    first = mlp(widths=WIDE)
    optimizer = market(first, x)
    _play(first, optimizer, 0, pause)
    if pause > 12:
        assert int(optimizer.alive.sum()) < 18
    save_tree(tmp_path / "state", optimizer.state_dict() | {"weights": first.state_dict()})
    tree = load_tree(tmp_path / "state")
    again = mlp(seed=9, widths=WIDE)
    resumed = market(again, x)
    resumed.compact_to(tree["alive"])
    again.load_state_dict(tree.pop("weights"))
    resumed.load_state_dict(tree)
    _play(again, resumed, pause, 26)
    assert torch.equal(resumed.s, reference.s) and torch.equal(resumed.alive, reference.alive)
    assert resumed.steps == 26 and resumed.state_of.keys() == reference.state_of.keys()
    for a, b in zip(again.parameters(), whole.parameters()):
        assert torch.equal(a, b)
    for a, b in zip(resumed.harvest().parameters(), reference.harvest().parameters()):
        assert torch.equal(a, b)


def test_compaction_does_not_disturb_training() -> None:
    """Cutting out players that are at zero for good changes nothing but the shapes, optimizer state included.

    Without the gauge: with it, the players of the next layer lose the columns that the departed fed, and so may
    grow a little further before their norm is at its radius.
    """
    x, y = batch((6,))

    class Still(FixedPrices):
        def step(self, players: Players, state: Any, pulse: Any) -> Tensor:
            return pulse.s  # nobody moves

    def run(compact: bool) -> tuple[nn.Module, Participating]:
        model = mlp(widths=WIDE)
        still = Still(Utility(), 0.0)
        optimizer = Participating(OPTIMIZERS["adamw"](model.parameters()), find(model, x), still, gauge="none")
        optimizer.s[::3] = 0
        with torch.no_grad():
            optimizer.weights.write(optimizer.s)
        for k in range(8):
            step(optimizer, model, x, y)
            if compact and k == 3:
                assert optimizer.idlers(4).nonzero().flatten().tolist() == list(range(0, 18, 3))
                optimizer.compact(~optimizer.idlers(4))
        return model, optimizer

    plain, a = run(False)
    small, b = run(True)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in plain.parameters())
    torch.testing.assert_close(small(x), plain(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(b.s, a.s[a.s > 0], rtol=0, atol=0)
    torch.testing.assert_close(b.harvest()(x), a.harvest()(x), rtol=0, atol=1e-12)


def test_a_refused_compaction_leaves_everything() -> None:
    model, (x, y) = mlp(), batch((6,))
    optimizer = game(model, x, OPTIMIZERS["adam"])
    for _ in range(3):
        step(optimizer, model, x, y)
    before = [p.detach().clone() for p in model.parameters()]
    keep = torch.ones(9, dtype=torch.bool)
    keep[:5] = False  # a whole layer
    with pytest.raises(StructureError):
        optimizer.compact(keep)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before))
    step(optimizer, model, x, y)


def test_participation_zero_is_removal() -> None:
    for build, shape, classes in ((mlp, (6,), 3), (conv_bn, (2, 6, 6), 3), (residual, (3, 8, 8), 10)):
        model, (x, y) = build(), batch(shape, classes)
        optimizer = game(model, x, OPTIMIZERS["sgd"])
        step(optimizer, model, x, y)  # statistics of BatchNorm are no longer initial
        g = torch.Generator().manual_seed(3)
        optimizer.s = (torch.rand(optimizer.s.numel(), generator=g) < 0.6).double()
        for layer in optimizer.players.layers:
            optimizer.s[layer.start] = 1.0
        with torch.no_grad():
            optimizer.weights.write(optimizer.s)
        gated = copy.deepcopy(model).eval()
        small = optimizer.harvest().eval()
        assert torch.equal(optimizer.kept, optimizer.s == 1)
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in gated.parameters())
        torch.testing.assert_close(small(x), gated(x), rtol=0, atol=1e-10)
        torch.testing.assert_close(model.eval()(x), gated(x), rtol=0, atol=0)  # the live one was not touched


def test_a_harvest_before_the_market_has_reached_its_budget_is_refused() -> None:
    model, (x, y) = mlp(), batch((6,))
    optimizer = Equilibrium(find(model, x), Budget(groups=0.4), market=MarketSettings(warmup=2, horizon=4)).wrap(
        torch.optim.SGD(model.parameters(), 0.1)
    )
    for step in range(6):
        said = rf"after 6 optimizer steps.*this is step {step}: its path is at .*, and the budget is 40%"
        with pytest.raises(RunError, match=said):
            optimizer.harvest()
        optimizer.zero_grad()
        cross_entropy(model, x, y).backward()
        optimizer.step()
    assert optimizer.harvest() is not model
    assert optimizer.certificate.slack is not None


def test_weights_that_are_not_finite_are_not_harvested() -> None:
    model, (x, y) = mlp(), batch((6,))
    optimizer = Equilibrium(find(model, x), utility=Utility()).wrap(torch.optim.SGD(model.parameters(), 0.1))
    optimizer.zero_grad()
    (cross_entropy(model, x, y) * float("nan")).backward()
    optimizer.step()
    with pytest.raises(RunError, match=r"'?0\.weight'? of the network are not finite after 1 steps"):
        optimizer.harvest()


def test_the_optimizer_of_another_model_is_refused() -> None:
    model, (x, _) = mlp(), batch((6,))
    with pytest.raises(RunError, match=r"this Adam holds none of the players' parameters, such as '0\.weight'"):
        Equilibrium(find(model, x), utility=Utility()).wrap(torch.optim.Adam(mlp().parameters()))


def test_harvest_in_place_hands_over_a_plain_optimizer() -> None:
    model, (x, y) = mlp(widths=WIDE), batch((6,))
    optimizer = market(model, x)
    for _ in range(24):
        step(optimizer, model, x, y)
    assert optimizer.harvest(inplace=True) is model
    assert int(optimizer.kept.sum()) == 7 and optimizer.certificate is not None
    assert model[0].out_features + model[2].out_features == 7
    moment = optimizer.state[model[0].weight]["exp_avg"]
    assert moment.shape == model[0].weight.shape
    first = step(optimizer, model, x, y)
    for _ in range(30):
        last = step(optimizer, model, x, y)
    assert last < first
    with pytest.raises(RunError, match="already"):
        optimizer.harvest()
    with pytest.raises(RunError, match="already"):
        optimizer.harvest(inplace=True)


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_a_frozen_layer_is_named(granularity: str) -> None:
    """Its players could only look worthless."""
    model, (x, _) = mlp(), batch((6,))
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    name = find(model, x, granularity).layers[0].name
    with pytest.warns(UserWarning, match=rf"no gradient reaches {name} \(.*ignore=\['{name}'\]"):
        Gradual(Budget(groups=0.5)).wrap(torch.optim.SGD(model.parameters(), 0.1), find(model, x, granularity))
    model[0].bias.requires_grad_(True)
    if granularity == "channel":  # the bias tells
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Gradual(Budget(groups=0.5)).wrap(torch.optim.SGD(model.parameters(), 0.1), find(model, x))


def test_parameters_without_gradient_and_groups_added_later() -> None:
    model, (x, y) = mlp(), batch((6,))
    extra = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = game(model, x, OPTIMIZERS["adam"])
    model[0].weight.requires_grad_(False)
    frozen = model[0].weight.detach().clone()
    optimizer.add_param_group({"params": [extra], "lr": 0.5})
    for _ in range(3):
        optimizer.zero_grad()
        (cross_entropy(model, x, y) + extra.square().sum()).backward()
        assert model[0].weight.grad is None
        optimizer.step()
    assert len(optimizer.param_groups) == 2 and float(extra.detach().abs().max()) < 1
    torch.testing.assert_close(
        model[0].weight.detach(),
        optimizer.s[:5, None] * optimizer.weights.raw[optimizer.weights.gates.names.index("0.weight")],
    )
    rows = model[0].weight.detach() / frozen
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))  # only scaled: θ itself did not move
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    optimizer.zero_grad(set_to_none=False)


def test_weights_that_start_at_zero_can_begin_to_take_part() -> None:
    torch.manual_seed(0)
    model, (x, y) = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double(), batch((6,))
    for parameter in model[0].parameters():
        nn.init.zeros_(parameter)
    optimizer = Participating(torch.optim.SGD(model.parameters(), 0.5), find(model, x), FixedPrices(Utility(), 0.0))
    for _ in range(5):
        step(optimizer, model, x, y)
    assert float(model[0].weight.detach().abs().sum(1).min()) > 1e-3


def test_norms_stay_within_their_initial_radius() -> None:
    model, (x, y) = mlp(), batch((6,))
    optimizer = game(model, x, lambda p: torch.optim.SGD(p, 5.0))
    start = optimizer.weights.gates.dot(optimizer.weights.raw, optimizer.weights.raw).sqrt()
    for _ in range(10):
        step(optimizer, model, x, y)
        now = optimizer.weights.gates.dot(optimizer.weights.raw, optimizer.weights.raw).sqrt()
        assert bool((now <= start * (1 + 1e-12)).all())
    assert bool((now > start * (1 - 1e-9)).any())


def test_scale_free_layers_keep_their_largest_participation_at_one() -> None:
    model, (x, y) = conv_bn(), batch((2, 6, 6))
    found = find(model, x)
    budget = Equilibrium(found, Budget(groups=0.5), market=MarketSettings(warmup=1, horizon=8, rate=0.1))
    optimizer = budget.wrap(torch.optim.SGD(model.parameters(), 0.1))
    free = optimizer.scale_free
    assert free == [True, False]
    for _ in range(10):
        step(optimizer, model, x, y)
        inner, outer = optimizer.s[:5], optimizer.s[5:]
        assert float(inner.max()) == 1.0
    assert float(outer.max()) <= 1.0 and float(optimizer.s.min()) < 0.5


def test_single_weights_are_held_but_not_cut_out() -> None:
    model, (x, y) = mlp(), batch((6,))
    found = find(model, x, "weight")
    optimizer = Equilibrium(found, Budget(groups=0.3), market=MarketSettings(warmup=1, horizon=10)).wrap(
        torch.optim.Adam(model.parameters(), 0.01)
    )
    for _ in range(12):
        step(optimizer, model, x, y)
    sparse = optimizer.harvest()
    zeros = sum(int((p == 0).sum()) for p in sparse.parameters() if p.dim() == 2)
    assert zeros == found.count - int(0.3 * found.count) and int(optimizer.kept.sum()) == int(0.3 * found.count)
    with pytest.raises(StructureError, match="weights"):
        optimizer.compact(optimizer.kept)


def test_state_of_the_market_is_explicit() -> None:
    """Two games on one Market object's class, one fed the other's state, go on alike (nothing hides outside)."""
    x, y = batch((6,))
    one, two = mlp(widths=WIDE), mlp(widths=WIDE)
    a, b = market(one, x), market(two, x)
    for _ in range(6):
        step(a, one, x, y)
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    for name, parameter in two.named_parameters():
        parameter.data.copy_(dict(one.named_parameters())[name].data)
    for _ in range(6):
        step(a, one, x, y)
        step(b, two, x, y)
    assert isinstance(a.dynamics, Market) and torch.equal(a.s, b.s)


def test_memory_format_changes_nothing() -> None:
    """Channels-last weights and gradients are strided: pieces of them cannot be flattened in place."""

    def run(last: bool) -> tuple[nn.Module, Participating]:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(5, 3)
        ).double()
        x, y = batch((3, 8, 8))
        if last:
            model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        optimizer = Equilibrium(
            find(model, x), Budget(groups=0.5), market=MarketSettings(warmup=1, horizon=10, rate=0.1)
        ).wrap(torch.optim.SGD(model.parameters(), 0.5, momentum=0.9))
        for _ in range(12):
            step(optimizer, model, x, y)
        return model, optimizer

    (plain, a), (last, b) = run(False), run(True)
    assert last[2].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(b.s, a.s, rtol=0, atol=1e-7)
    torch.testing.assert_close(list(last.parameters()), list(plain.parameters()), rtol=0, atol=1e-7, check_stride=False)
    assert 0.0 < float(a.s.min()) < 1.0 or int((a.s == 0).sum()) > 0


@pytest.mark.parametrize("kind", ["bf16", "mixed"])
@pytest.mark.parametrize("deep", [False, True])
def test_weights_in_low_precision(kind: str, deep: bool) -> None:
    """Sums and participation are float32 at least, beside bfloat16 weights, or some of each."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for k in range(10 if deep else 2):
        layers += [nn.Linear(6, 6), nn.ReLU()] if k else [nn.Linear(6, 6), nn.LayerNorm(6), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(6, 3))
    for module in model[:-1] if kind == "mixed" else model:
        module.to(torch.bfloat16)
    if kind == "mixed":

        class Up(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.float()

        model = nn.Sequential(*model[:-1], Up(), nn.Linear(6, 6), nn.ReLU(), model[-1])
    x = torch.randn(8, 6, dtype=torch.bfloat16)
    for dynamics in (Market(Budget(groups=0.7), MarketSettings(warmup=1, horizon=5)), FixedPrices(PRICES, RATE)):
        optimizer = Participating(torch.optim.Adam(model.parameters(), 1e-2), find(model, x), dynamics)
        for _ in range(4):
            optimizer.zero_grad()
            model(x).float().square().sum().backward()
            optimizer.step()
        assert optimizer.s.dtype == torch.float32 and bool(optimizer.s.isfinite().all())
        assert float(optimizer.s.min()) < 1


def test_an_optimizer_without_a_learning_rate_is_wrapped_like_any_other() -> None:
    class Signs(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {})

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for parameter in self.param_groups[0]["params"]:
                parameter.data.sub_(0.01 * parameter.grad.sign())

    model, (x, y) = mlp(), batch((6,))
    found = find(model, x)
    optimizer = Equilibrium(found, Budget(groups=0.5), market=MarketSettings(warmup=1, horizon=3)).wrap(
        Signs(model.parameters())
    )
    for _ in range(4):
        optimizer.zero_grad()
        cross_entropy(model, x, y).backward()
        optimizer.step()
    optimizer.harvest()
    assert found.amount("groups", optimizer.kept) <= 0.5 * found.count
