"""What moving participation adds to a training step: the same loop with and without it, interleaved.

    python -m benchmarks.step_overhead [--threads 1] [--pairs 40] [--only mlp] [--rules equilibrium,rigl]

Two copies of the network are trained on the same random batches, a few steps of one, then of the other, over and over;
the ratio is taken pair by pair. The market is open, so the price is solved for at every step. Single weights are moved
by every rule there is; those that look at the weights only now and then look once in each few steps, which is far more
often than they do by default.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

import secateurs
from secateurs import Budget, MarketSettings
from secateurs.dynamics import DYNAMICS, Participating
from secateurs.partition import Players


@dataclass(frozen=True)
class Case:
    """What is trained: ``count`` steps at a time; the ratio should be at most ``target``."""

    model: str
    shape: tuple[int, ...]
    batch: int
    optimizer: str
    count: int
    target: float
    granularity: str = "channel"
    rules: tuple[str, ...] = ("equilibrium",)


CASES = {
    "resnet20, batch 128": Case("zoo:resnet20", (3, 32, 32), 128, "sgd", 2, 1.03),
    "mlp-512-256, batch 1024": Case("zoo:mlp-512-256", (1, 28, 28), 1024, "adam", 10, 1.06),
    "mlp-512-256, batch 128": Case("zoo:mlp-512-256", (1, 28, 28), 128, "adam", 30, 1.20),
    "resnet20 weights, batch 128": Case(
        "zoo:resnet20", (3, 32, 32), 128, "sgd", 2, 1.10, "weight", ("equilibrium", *DYNAMICS)
    ),
}


def wrapped(rule: str, case: Case, players: Players, optimizer: torch.optim.Optimizer, horizon: int) -> Participating:
    """The optimizer with a rule around it, half of the players to go."""
    budget = Budget(groups=0.5)
    if rule == "equilibrium":
        market = MarketSettings(warmup=0, horizon=horizon, rate=1e-3)
        return secateurs.Equilibrium(players, budget=budget, market=market).wrap(optimizer)
    kind = DYNAMICS[rule]
    often = {"every": case.count} if "every" in kind.Settings.model_fields else {}
    return kind(budget, warmup=0, horizon=horizon, **often).wrap(optimizer, players)


def make(model: torch.nn.Module, kind: str) -> torch.optim.Optimizer:
    if kind == "adam":
        return torch.optim.Adam(model.parameters(), lr=1e-3)
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)


def steps(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor, count: int
) -> float:
    """Wall seconds of ``count`` training steps."""
    start = time.perf_counter()
    for _ in range(count):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return time.perf_counter() - start


def measure(case: Case, rule: str, pairs: int) -> tuple[float, float, float, float]:
    """Milliseconds of a plain step; median and quartiles of the ratios."""
    model = secateurs.build_model(case.model, classes=10, input_shape=case.shape)
    twin = copy.deepcopy(model)
    x, y = torch.randn(case.batch, *case.shape), torch.randint(10, (case.batch,))
    plain, count = make(model, case.optimizer), case.count
    players = secateurs.players(twin, x[:2], case.granularity)
    playing = wrapped(rule, case, players, make(twin, case.optimizer), (pairs + 5) * count)
    ratios, base = [], []
    for i in range(pairs + 3):
        if i % 2:  # who goes first alternates, so that drift favours neither
            b = steps(twin, playing, x, y, count)
            a = steps(model, plain, x, y, count)
        else:
            a = steps(model, plain, x, y, count)
            b = steps(twin, playing, x, y, count)
        if i >= 3:
            ratios.append(b / a)
            base.append(a / count)
    low, median, high = statistics.quantiles(ratios, n=4)
    return statistics.median(base) * 1e3, median, low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--rules", default="", help="only these, separated by commas")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), {arguments.pairs} interleaved pairs")
    print(f"{'case':28} {'rule':16} {'plain step':>12} {'ratio':>8} {'quartiles':>16} {'target':>8}")
    for name, case in CASES.items():
        for rule in case.rules:
            if arguments.only not in name or (arguments.rules and rule not in arguments.rules.split(",")):
                continue
            base, median, low, high = measure(case, rule, arguments.pairs)
            print(
                f"{name:28} {rule:16} {base:9.2f} ms {median:8.3f} {low:8.3f} –{high:6.3f} {case.target:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
