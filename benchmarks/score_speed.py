"""How long one score over a large model's weights takes, and the mask with it.

    python -m benchmarks.score_speed --width 4096 --layers 6

A multi-layer perceptron of about 100 M weights on a CPU, one thread. Side by side, in one run: a forward and backward
pass at batch 1, every score that looks at weights or gradients of one batch, the exact mask of a tenth of the weights,
and ``torch.nn.utils.prune.global_unstructured`` with ``L1Unstructured`` to the same tenth. The masks must be equal.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune

import secateurs
from secateurs.criteria import SCORES
from secateurs.selection import fit_budget
from secateurs.signals import Signals

SHARE = 0.1


def network(width: int, layers: int) -> nn.Sequential:
    """Square linear layers without biases, ReLU between them."""
    torch.manual_seed(0)
    return nn.Sequential(*[m for _ in range(layers) for m in (nn.Linear(width, width, bias=False), nn.ReLU())])


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def median(call: Callable[[], Any], rounds: int) -> float:
    return statistics.median(timed(call)[1] for _ in range(rounds))


def masked(net: nn.Sequential) -> torch.Tensor:
    """torch's own way: which weights it keeps."""
    layers = [m for m in net if isinstance(m, nn.Linear)]
    total = sum(m.weight.numel() for m in layers)
    prune.global_unstructured([(m, "weight") for m in layers], prune.L1Unstructured, amount=total - int(SHARE * total))
    return torch.cat([m.weight_mask.flatten().bool() for m in layers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scores", nargs="*", default=["magnitude", "taylor", "snip"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    net = network(args.width, args.layers)
    x, y = torch.randn(1, args.width), torch.zeros(1, dtype=torch.long)

    def step() -> None:
        net.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(net(x), y).backward()

    step()
    base = median(step, args.rounds)
    net.zero_grad(set_to_none=True)
    found, seconds = timed(lambda: secateurs.players(net, x.repeat(2, 1), "weight"))
    print(
        f"{found.count:,} weights; forward and backward at batch 1: {base:.3f} s; players found once: {seconds:.2f} s"
    )
    for name in (n for n in args.scores if n in SCORES):
        score = SCORES[name]()
        taken = median(lambda: score(found, Signals(found, [(x, y)])), args.rounds)  # noqa: B023
        print(f"  {name}: {taken:.3f} s, {taken / base:.2f} × forward and backward (aim: 2)")
    targets = {"groups": float(int(SHARE * found.count))}
    score = SCORES["magnitude"]()
    ours = median(lambda: fit_budget(found, score(found, Signals(found)), targets), args.rounds)
    scores = score(found, Signals(found))
    keep = fit_budget(found, scores, targets)
    theirs_mask, theirs = timed(lambda: masked(copy.deepcopy(net)))
    differ = scores[keep != theirs_mask]  # who stays of equals is by index here, by chance there
    if int(theirs_mask.sum()) != int(keep.sum()) or differ.unique().numel() > 1:
        raise SystemExit("the masks differ by more than ties")
    print(
        f"magnitude and its mask of {int(keep.sum()):,} weights: {ours:.2f} s; torch.nn.utils.prune {theirs:.2f} s, "
        f"{theirs / ours:.1f} × as long (aim: 3); masks equal, but for {differ.numel()} weights of one equal magnitude"
    )


if __name__ == "__main__":
    main()
