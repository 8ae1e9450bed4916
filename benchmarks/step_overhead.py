"""What the game adds to a training step: the same loop with and without it, interleaved.

    python -m benchmarks.step_overhead [--threads 1] [--pairs 40] [--only mlp-128]

Two copies of the network are trained on the same random batches, a few steps of one, then of the other, over and over;
the ratio is taken pair by pair. The market is open, so the price is solved for at every step.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
import torch.nn.functional as F

import secateurs
from secateurs import Budget, MarketSettings

CASES = {
    "resnet20, batch 128": ("zoo:resnet20", (3, 32, 32), 128, "sgd", 2, 1.03),
    "mlp-512-256, batch 1024": ("zoo:mlp-512-256", (1, 28, 28), 1024, "adam", 10, 1.06),
    "mlp-512-256, batch 128": ("zoo:mlp-512-256", (1, 28, 28), 128, "adam", 30, 1.20),
}


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


def measure(name: str, pairs: int) -> tuple[float, float, float, float]:
    spec, shape, batch, kind, count, _ = CASES[name]
    model = secateurs.build_model(spec, classes=10, input_shape=shape)
    twin = copy.deepcopy(model)
    x, y = torch.randn(batch, *shape), torch.randint(10, (batch,))
    plain = make(model, kind)
    players = secateurs.players(twin, x[:2])
    horizon = (pairs + 5) * count
    market = MarketSettings(warmup=0, horizon=horizon, rate=1e-3)
    playing = secateurs.Equilibrium(players, budget=Budget(groups=0.5), market=market).wrap(make(twin, kind))
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
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), {arguments.pairs} interleaved pairs")
    print(f"{'case':28} {'plain step':>12} {'ratio':>8} {'quartiles':>16} {'target':>8}")
    for name, case in CASES.items():
        if arguments.only in name:
            base, median, low, high = measure(name, arguments.pairs)
            print(f"{name:28} {base:9.2f} ms {median:8.3f} {low:8.3f} –{high:6.3f} {case[-1]:8.2f}")


if __name__ == "__main__":
    main()
