"""The experiments of ``reproduce magnitude`` that take time: each a cell, a function of settings and seed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from ..partition import players
from ..spec import Budget, derive_seed
from ..theory import no_free_lunch, recovery
from ..theory.curvature import landscape
from ..theory.paths import recovery_curves
from ..zoo import Data
from ..zoo.mlp import mlp
from .cells import Result
from .experiments import apply_method, dataset, trainer_of
from .tiny import largest_kept

AT_THETA = "largest, at θ"  # P_m H P_m at the dense network's own point


def draws(*, support: int, total: int, count: int, threshold: float | None = None, seed: int) -> Result:
    """Random weights at a threshold (default the best): how often just the support was kept."""
    t = recovery.best_threshold(support, total) if threshold is None else threshold
    generator = torch.Generator().manual_seed(derive_seed(seed, "draws", support, total))
    exact, overlap = recovery.simulate(t, support, total, count, generator)
    return {"threshold": t, "exact": exact, "overlap": overlap}


def sensed(*, unknowns: int, k: int, measurements: list[int], problems: int, seed: int) -> Result:
    """Supports recovered in compressed sensing, by number of measurements."""
    return dict(recovery_curves(unknowns, k, measurements, problems, seed))


def lunch(*, name: str, options: Mapping[str, Any], epochs: int, leak: float, seed: int) -> Result:
    """A method on random labels: hits on the test set."""
    torch.manual_seed(derive_seed(seed, "lunch"))
    found, n, learnt = no_free_lunch.hits(_fit(name, options, epochs), seed, leak=leak)
    return {"hits": found, "trials": n, "training": learnt}


def _fit(name: str, options: Mapping[str, Any], epochs: int) -> no_free_lunch.Fit:
    def fit(data: Data, seed: int) -> nn.Module:
        net = mlp((64, 32), data.classes, data.input_shape)
        if name == "dense":
            trainer_of(net, data, epochs, seed, batch_size=64, optimizer=_adam(net)).run()
            return net
        given = {"lr": 5e-3, **options}
        return apply_method(
            net, data, budget=Budget(groups=0.5), name=name, epochs=epochs, seed=seed, batch_size=64, options=given
        ).trainer.model

    return fit


def _adam(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=5e-3)


def rewound(*, hidden: int, epochs: int, early: int, share: float, examples: int, seed: int) -> Result:
    """A network on digits: the curvature at the start, after ``early`` steps and at the end, dense and under masks.

    The mask keeps the largest ``share`` of the trained weights; a random one of the same size stands beside it.
    """
    data = dataset("digits", seed, None)
    torch.manual_seed(derive_seed(seed, "rewound"))
    net = mlp((hidden,), data.classes, data.input_shape)
    points = {"start": copy.deepcopy(net.state_dict())}
    trainer = trainer_of(net, data, epochs, seed, batch_size=64, optimizer=torch.optim.Adam(net.parameters(), lr=2e-3))
    trainer.run(stop=early)
    points[f"after {early} steps"] = copy.deepcopy(net.state_dict())
    trainer.run()
    points["trained"] = copy.deepcopy(net.state_dict())
    net = net.double()
    x, y = next(iter(data.train.batches(examples, epoch=None)))
    found = players(net, x[:2].double(), "weight")
    keep = largest_kept(found, share)
    shuffled = keep[torch.randperm(len(keep), generator=torch.Generator().manual_seed(derive_seed(seed, "mask")))]
    masks = {"dense": None, "largest": keep, "random": shuffled}
    rows = landscape(found, [(x.double(), y)], points, masks)
    inside = landscape(found, [(x.double(), y)], points, {AT_THETA: keep}, in_place=True)
    return {"rows": [asdict(row) for row in (*rows, *inside)]}


KINDS: dict[str, Callable[..., Result]] = {"draws": draws, "lunch": lunch, "rewound": rewound, "sensed": sensed}


def power_of_ten(log_p: float) -> str:
    """e^log_p, as a float where there is one, else as a power of ten."""
    if log_p > -600:
        return f"{math.exp(log_p):.3g}"
    exponent = log_p / math.log(10)
    return f"10^{exponent:,.0f}"
