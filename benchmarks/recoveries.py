"""What each recovery, and chains of them, give back: ``python -m benchmarks.recoveries --data cifar10:DIR``.

A network is trained, cut by magnitude or Taylor scores (filters to a share of its MACs) or by magnitude of single
weights (to a share of its parameters), and repaired anew by every chain, from the same calibration images of the
training data. Accuracy is on validation images, which is what a ladder looks at; the test set is not read.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

import secateurs
from secateurs.criteria import SCORES
from secateurs.partition import Players
from secateurs.recipes.masks import zeros_of
from secateurs.recovery import RECOVERIES, Finetune, Removal, Rung
from secateurs.selection import fit_budget, within_layers
from secateurs.signals import Signals
from secateurs.spec import Budget
from secateurs.structure.copying import duplicate
from secateurs.training import evaluate
from secateurs.zoo import build_model, load_data
from secateurs.zoo.data import Data

CHAINS = """
batchnorm bias scale reweight reweight-intercept obs reconstruct bias,batchnorm batchnorm,bias scale,batchnorm
reweight,batchnorm reweight,batchnorm,bias reweight-intercept,batchnorm obs,batchnorm reconstruct,batchnorm
batchnorm,reconstruct,batchnorm reconstruct,batchnorm,bias finetune distill reconstruct,batchnorm,finetune
reconstruct,batchnorm,distill
"""


def main(arguments: list[str] | None = None) -> None:
    asked = options(arguments)
    data = load_data(asked.data, limit=asked.limit, validation=0.2, augment="none")
    model = build_model(asked.model, classes=data.classes, input_shape=data.input_shape)
    model = trained(model, data, asked.epochs)
    calibration = next(iter(data.train.batches(asked.images, epoch=1)))
    batches = list(zip(*(t.split(asked.batch) for t in calibration)))
    print(f"{asked.model}, {asked.data}, {asked.images} calibration images; dense {accuracy(model, data):.1%}")
    for score, granularity, allocation, share in cuts(asked):
        small, removal = cut(model, batches, score, granularity, allocation, share)
        print(f"\n{granularity}s by {score}, {allocation}, {share:g} kept: cut {accuracy(small, data):.1%}")
        for names in asked.chains.split():
            rung = Rung(tuple(RECOVERIES[name]() for name in names.split(",")))
            start = time.process_time()
            repaired = rung(small, removal, batches)
            seconds = time.process_time() - start
            print(f"{names:34} {accuracy(repaired, data):6.1%} {seconds:7.1f} s", flush=True)


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--model", default="zoo:conv-small")
    parser.add_argument("--limit", type=int, default=None, help="training images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=512, help="for calibration")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--macs", type=float, nargs="*", default=[0.7, 0.5], help="shares kept of filters")
    parser.add_argument("--weights", type=float, nargs="*", default=[0.3], help="shares kept of single weights")
    parser.add_argument("--chains", default=CHAINS, help="names with commas, chains with spaces between them")
    return parser.parse_args(arguments)


def cuts(asked: argparse.Namespace) -> Iterator[tuple[str, str, str, float]]:
    for share in asked.macs:
        yield "magnitude", "channel", "uniform", share
        yield "taylor", "channel", "global", share
    for share in asked.weights:
        yield "magnitude", "weight", "global", share


def trained(model: nn.Module, data: Data, epochs: int) -> nn.Module:
    """By the library's own short training."""
    batches = [batch for epoch in range(epochs) for batch in data.train.batches(128, epoch=epoch)]
    return Finetune(len(batches), 5e-3)(model, Removal(model), batches).eval()


def cut(
    model: nn.Module, batches: list[tuple[Tensor, ...]], score: str, granularity: str, allocation: str, share: float
) -> tuple[nn.Module, Removal]:
    players: Players = secateurs.players(model, batches[0][0][:2], granularity=granularity)
    budget = Budget(**{"macs" if granularity == "channel" else "params": share})
    scores = SCORES[score]()(players, Signals(players, batches))  # type: ignore[arg-type]
    priority = within_layers(players, scores) if allocation == "uniform" else scores
    keep = fit_budget(players, priority, budget.targets({name: players.amount(name) for name in budget.given}))
    if granularity == "channel":
        shrunk = secateurs.shrink(model, players.structure, players.atom_mask(keep))
        return shrunk.model.eval(), Removal(model, shrunk.surgery)
    small, masks = duplicate(model), zeros_of(players, keep)
    with torch.no_grad():
        for name, mask in masks.items():
            small.get_parameter(name).mul_(mask)
    return small.eval(), Removal(model, masks=masks)


def accuracy(model: nn.Module, data: Data) -> float:
    return evaluate(model.eval(), data.validation, 500).accuracy


if __name__ == "__main__":
    main()
