"""What scores cost: processor time of each, in passes forward and backward over the same batch.

    python -m benchmarks.score_cost [--threads 1] [--batch 100] [--repeats 5] [--only resnet20] [--scores snip grasp]

Every score is asked as a run would ask it (training mode where it is meant for untrained networks, example by example
where it needs that), but on one batch and once. One training pass is measured beside each, turn by turn, so that others
on the machine slow both; the median of the ratios is printed, and of GraSP's to SNIP's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

import secateurs
from secateurs.criteria import SCORES, Score
from secateurs.errors import StructureError
from secateurs.partition import Players
from secateurs.signals import Signals

CASES = {
    "resnet20, channels": ("zoo:resnet20", (3, 32, 32), "channel"),
    "resnet20, weights": ("zoo:resnet20", (3, 32, 32), "weight"),
    "lenet5, channels": ("zoo:lenet5", (1, 28, 28), "channel"),
    "lenet5, weights": ("zoo:lenet5", (1, 28, 28), "weight"),
}


def seconds(call: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(players: Players, score: Score, batch: tuple[torch.Tensor, torch.Tensor], repeats: int) -> list[float]:
    """The score's time over that of a training pass, ``repeats`` times, after one that is not counted."""
    model, (x, y) = players.model, batch

    def training_pass() -> None:
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()

    def scored() -> None:
        score(players, Signals(players, [batch], training=score.early))

    model.train()
    ratios = [seconds(scored) / seconds(training_pass) for _ in range(repeats + 1)]
    return ratios[1:]


def report(name: str, scores: Sequence[str], batch: int, repeats: int) -> None:
    spec, shape, granularity = CASES[name]
    model = secateurs.build_model(spec, classes=10, input_shape=shape)
    x, y = torch.randn(batch, *shape), torch.randint(10, (batch,))
    players = secateurs.players(model, x[:2], granularity)
    print(f"\n{name}: {players.count} players, batch {batch}")
    found: dict[str, float] = {}
    for which in scores:
        score = SCORES[which]()
        try:
            score.require(players)
        except StructureError:
            print(f"  {score.name:18} {'—':>8}")
            continue
        ratios = measure(players, score, (x, y), repeats)
        found[score.name] = statistics.median(ratios)
        print(f"  {score.name:18} {found[score.name]:8.2f}   ({min(ratios):.2f}–{max(ratios):.2f})", flush=True)
    if {"snip", "grasp"} <= found.keys():
        print(f"  grasp / snip       {found['grasp'] / found['snip']:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--scores", nargs="+", default=list(SCORES), choices=list(SCORES), metavar="NAME")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s); 1 = a forward and a backward pass")
    for name in CASES:
        if arguments.only in name:
            report(name, arguments.scores, arguments.batch, arguments.repeats)


if __name__ == "__main__":
    main()
