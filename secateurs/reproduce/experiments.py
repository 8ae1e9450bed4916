"""Single experiments that grids are made of: a method at a budget, and the same shape from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..measure import count_macs, count_params
from ..partition import players
from ..recipes import Pruning, TrainOptions, find_method, read_options
from ..spec import Budget
from ..structure import shrink
from ..training import Trainer, cross_entropy, evaluate
from ..zoo import Data, build_model, load_data
from ..zoo.data import moments
from ..zoo.splits import TensorSplit
from .cells import Result


@lru_cache(maxsize=2)
def dataset(spec: str, seed: int, limit: int | None) -> Data:
    """A data set, kept for the next cell that asks for the same."""
    return load_data(spec, seed=seed, limit=limit)


@lru_cache(maxsize=2)
def pooled(spec: str, seed: int, limit: int | None, side: int) -> Data:
    """A data set of images at a fraction of their size: means over ``side``×``side`` pixels, rounded to bytes."""
    data = dataset(spec, seed, limit)
    whole: list[TensorSplit] = [s for s in (data.train, data.validation, data.test) if isinstance(s, TensorSplit)]
    small = [F.avg_pool2d(s.x.float(), side).round().byte() for s in whole]
    mean, std = moments(small[0])
    train, validation, test = (
        TensorSplit(x, s.y, augment=s.augment, mean=mean, std=std) for x, s in zip(small, whole, strict=True)
    )
    return Data(data.name, data.classes, small[0].shape[1:], data.hash, train, validation, test, data.augment)


def setup(data: str, model: str, seed: int, limit: int | None, pool: int = 1) -> tuple[Data, nn.Module]:
    """The data and a fresh model for them."""
    loaded = dataset(data, seed, limit) if pool == 1 else pooled(data, seed, limit, pool)
    return loaded, build_model(model, classes=loaded.classes, input_shape=loaded.input_shape, seed=seed)


def trainer_of(net: nn.Module, data: Data, epochs: int, seed: int, **settings: Any) -> Trainer:
    """A trainer without checkpoints, evaluations or a progress bar."""
    return Trainer(net, data, seed=seed, epochs=epochs, progress=False, evaluate_every=0, **settings)


def measured(net: nn.Module, data: Data, trainer: Trainer) -> Result:
    """What every experiment reports of its final network."""
    return {
        "validation": evaluate(net, data.validation).accuracy,
        "removed": evaluate(net, data.test).accuracy,
        "params": count_params(net),
        "macs": count_macs(net, data.example_inputs(1)),
        "seconds": sum(trainer.seconds.values()),
    }


@dataclass
class Carried:
    """A method's run that was carried out: the run itself, its trainer and its data."""

    run: Pruning
    trainer: Trainer
    data: Data

    def result(self) -> Result:
        """Accuracy after removal and recovery, what was kept, and the time it took."""
        widths = [row.kept for row in self.run.layer_rows()]
        return {
            "widths": widths,
            "density": sum(widths) / self.run.count,
            "own_seconds": self.run.game_seconds(),
            "phases": dict(self.trainer.seconds),
            **measured(self.trainer.model, self.data, self.trainer),
        }


def apply_method(
    net: nn.Module,
    data: Data,
    *,
    budget: Budget,
    name: str,
    epochs: int,
    seed: int,
    batch_size: int = 128,
    mixed_precision: str = "no",
    granularity: str = "channel",
    options: Mapping[str, Any] | None = None,
) -> Carried:
    """Carry out a method on a network and data that are there, in place."""
    row = find_method(name)
    given = read_options(row.options, name, options or {})
    found = given.restrain(players(net, data.example_inputs(2), granularity, ignore=given.ignore), budget)
    run = row.run(found, budget, given, epochs * (len(data.train) // batch_size))
    run.seed = seed
    trainer = trainer_of(
        net,
        data,
        epochs,
        seed,
        batch_size=batch_size,
        mixed_precision=mixed_precision,
        optimizer=run.optimizer,
        callbacks=[run],
        lr=run.rate,
        clip=given.clip,
        loss=cross_entropy(given.label_smoothing),
    )
    trainer.run()
    return Carried(run, trainer, data)


def carry_out(
    *,
    data: str,
    model: str,
    budget: Mapping[str, float],
    seed: int,
    limit: int | None = None,
    pool: int = 1,
    **settings: Any,
) -> Carried:
    """:func:`apply_method` to a model and data by name. ``pool``: images are made that many times smaller."""
    loaded, net = setup(data, model, seed, limit, pool)
    return apply_method(net, loaded, budget=Budget(**budget), seed=seed, **settings)


def run_method(**settings: Any) -> Result:
    """:func:`carry_out`'s accuracy after removal and recovery, and the widths it found."""
    return carry_out(**settings).result()


def run_dense(
    *,
    data: str,
    model: str,
    epochs: int,
    seed: int,
    limit: int | None = None,
    batch_size: int = 128,
    options: Mapping[str, Any] | None = None,
) -> Result:
    """The network as it is, trained for the same steps."""
    loaded, net = setup(data, model, seed, limit)
    given = TrainOptions(**(options or {}))
    optimizer = given.make(net)
    trainer = trainer_of(net, loaded, epochs, seed, batch_size=batch_size, optimizer=optimizer, clip=given.clip)
    trainer.lr = given.dense_rate(trainer.total_steps)
    trainer.run()
    return measured(net, loaded, trainer)


def run_scratch(
    *,
    data: str,
    model: str,
    widths: Sequence[int],
    lr: float,
    epochs: int,
    seed: int,
    limit: int | None = None,
    batch_size: int = 128,
    mixed_precision: str = "no",
    granularity: str = "channel",
    options: Mapping[str, Any] | None = None,
) -> Result:
    """A network of the same shape from scratch, for the same steps, on a cosine schedule peaking at ``lr``."""
    loaded, net = setup(data, model, seed + 1000, limit)
    net = narrow(net, loaded, widths, granularity)
    given = TrainOptions(**{**(options or {}), "lr": lr})
    trainer = trainer_of(
        net, loaded, epochs, seed, batch_size=batch_size, mixed_precision=mixed_precision, optimizer=given.make(net)
    )
    trainer.lr = given.dense_rate(trainer.total_steps)
    trainer.run()
    return measured(net, loaded, trainer)


def narrow(net: nn.Module, data: Data, widths: Sequence[int], granularity: str = "channel") -> nn.Module:
    """A freshly initialised network with so many groups in its layers: a fresh one cut, its weights rescaled to the
    smaller fan-in."""
    found = players(net, data.example_inputs(2), granularity)
    keep = torch.zeros(found.count, dtype=torch.bool)
    for layer, width in zip(found.layers, widths):
        keep[layer.start : layer.start + width] = True
    before = {n: p[0].numel() for n, p in net.named_parameters() if p.dim() >= 2}
    small = shrink(net, found.structure, found.atom_mask(keep), check=False).model
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            if name in before:
                parameter.mul_((before[name] / parameter[0].numel()) ** 0.5)
    return small


__all__ = [
    "Carried",
    "apply_method",
    "carry_out",
    "dataset",
    "measured",
    "narrow",
    "pooled",
    "run_dense",
    "run_method",
    "run_scratch",
    "setup",
    "trainer_of",
]
