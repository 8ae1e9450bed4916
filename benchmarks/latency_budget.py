"""Milliseconds promised and kept: what the latency table predicts, and what networks cut to a latency take.

    python -m benchmarks.latency_budget [--threads 1] [--models resnet20,…] [--shares 0.75,0.5,0.35]

For each network the table is made (operators timed at several widths), then networks with random widths are timed
against its prediction, and the network is cut by filter norm to shares of its dense latency. All on one example, one
thread. What counts is the last column: a new measurement of the network that was cut to the budget, over the budget;
it is taken beside the dense network, in turns, so that others on the machine slow both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.architectures.models import torchvision_model
from secateurs.criteria import SCORES
from secateurs.errors import BudgetError
from secateurs.measure import latency_table, quiet_ms, timings_of
from secateurs.partition import Players, players
from secateurs.recipes.latency import Clock, tighten
from secateurs.selection import fit_budget
from secateurs.signals import Signals
from secateurs.structure import shrink
from secateurs.zoo import build_model

ZOO = {"mlp-512-256": (1, 28, 28), "resnet20": (3, 32, 32), "vgg16-bn": (3, 32, 32)}
VISION = {"resnet18": 224, "mobilenet_v2": 224}
PROBES = 8


def made(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network and two examples."""
    if name in ZOO:
        shape = ZOO[name]
        return build_model(f"zoo:{name}", classes=10, input_shape=shape).eval(), torch.randn(2, *shape)
    return torchvision_model(name).eval(), torch.randn(2, 3, VISION[name], VISION[name])


def random_widths(found: Players, generator: torch.Generator) -> torch.Tensor:
    keep = torch.zeros(found.count, dtype=torch.bool)
    for layer in found.layers:
        share = 0.15 + 0.8 * float(torch.rand((), generator=generator))
        keep[layer.start : layer.start + max(layer.minimum, round(share * layer.size))] = True
    return keep


def cut(found: Players, keep: torch.Tensor) -> nn.Module:
    return shrink(found.model, found.structure, found.atom_mask(keep), check=False).model


def measure(name: str, shares: list[float], threads: int) -> None:
    torch.manual_seed(0)
    model, x = made(name)
    found = players(model, x).limit(round_to="auto")
    one, start = x[:1], time.perf_counter()
    table = latency_table(model, found.structure, one, threads=threads, timings=timings_of(model, threads))
    seconds = time.perf_counter() - start
    found.add_resource("latency", table.terms)
    generator = torch.Generator().manual_seed(1)
    errors = []
    for _ in range(PROBES):
        keep = random_widths(found, generator)
        errors.append(abs(found.amount("latency", keep) / quiet_ms(cut(found, keep), one, threads) - 1))
    print(
        f"{name}: dense {table.whole_ms[0]:.3f} ms, {len(table.timings)} timings in {seconds:.1f} s, operators alone "
        f"{table.operators_ms[0]:.3f} ms; at {PROBES} random widths the table is off by "
        f"{statistics.median(errors):.1%} (median), {max(errors):.1%} at most"
    )
    scores = SCORES["magnitude"]()(found, Signals(found))
    for share in shares:
        report(found, scores, Clock(share * table.whole_ms[0], one, model, table.whole_ms[0]), share)


def report(found: Players, scores: torch.Tensor, clock: Clock, share: float) -> None:
    limit, targets = clock.limit_ms, {"latency": clock.limit_ms}
    build: Callable[[], nn.Module] = lambda: cut(found, fit_budget(found, scores, targets))  # noqa: E731
    try:
        found.require_reachable(targets)
        tighten(targets, build, clock)
    except BudgetError as error:
        print(f"  {share:.2f} of dense: {error}")
        return
    keep = fit_budget(found, scores, targets)
    taken = clock(cut(found, keep))
    macs = found.amount("macs", keep) / found.amount("macs")
    print(
        f"  {share:.2f} of dense: {limit:.3f} ms asked, {taken:.3f} ms taken, {macs:.2f} of the MACs"
        f"   {taken / limit:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", default=",".join((*ZOO, *VISION)))
    parser.add_argument("--shares", default="0.75,0.5,0.35")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.models.split(","):
        measure(name, [float(s) for s in arguments.shares.split(",")], arguments.threads)


if __name__ == "__main__":
    main()
