"""What is run for *Playing the Lottery With Concave Regularizers* (Fracastoro et al.): its claims on a small scale, and
what it leaves open. The page is laid out by :mod:`.concave`.

1. Where the loss is strongly convex (MNIST, two digits): the bound on the mask's error, and which steps settle.
2. CIFAR-10 at a few densities against iterative magnitude pruning, at equal total steps.
3. Threshold against percentage; how much α matters; what the masks look like; what they cost.
4. Open in the paper: λ from the budget, untrained weights, searches that end early, the gauge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..recipes import ConcaveRun, TrainOptions
from ..training import evaluate
from .cells import Asked, Result
from .convex import logistic, mask_error
from .experiments import carry_out, measured, run_method, setup, trainer_of

SMALL, DEEP = "zoo:conv-small", "zoo:resnet20"
LEVELS = {0.4: 1, 0.2: 1, 0.1: 2, 0.05: 2}  # masks chosen on the way to a density
DEEP_DENSITIES = (0.2, 0.05)
TRAINING = 5  # epochs of every training; a run of S levels has S + 1
LIMIT, POOL = 4000, 2
TRAVEL = 7.0
ALPHAS = (0.001, 0.003, 0.01, 0.03, 0.1)
BINS = 20
LAMBDAS = (1e-3, 3e-3, 5e-3, 1e-2, 3e-2)
CONVEX = {"steps": 4000, "limit": 2000, "gamma": 1e-3}
ERRORS = (0.05, 0.1, 0.2)
# What is open in the paper, at 10%: options beside the method's own.
VARIANTS: dict[str, dict[str, Any]] = {
    "as above": {},
    "gauge: norm of each weight": {"gauge": "norm"},
    "ends a settled search": {"settle": 0.05, "look": 7, "patience": 2},
    "untrained weights while searching": {"frozen": True},
}


def masked(**settings: Any) -> Result:
    """A run of concave masks: what every method reports, accuracy with the relaxed mask, and the masks' values."""
    done = carry_out(name="concave", **settings)
    run = done.run
    assert isinstance(run, ConcaveRun)
    m = run.searched[-1].float()
    _, gated = setup(settings["data"], settings["model"], settings["seed"], settings["limit"], settings["pool"])
    gated.load_state_dict(run.snapshots["gated"]["weights"])
    counts = {
        layer.name: torch.histc(m[layer.start : layer.stop], BINS, 0.0, 1.0).int().tolist()
        for layer in run.original.layers
    }
    return {
        **done.result(),
        "gated": evaluate(gated, done.data.test).accuracy,
        "histogram": counts,
        "between": float(((m > 0.05) & (m < 0.95)).float().mean()),
        "zero": float((m == 0).float().mean()),
        "searched": run.cut_step / run.total,
    }


def dense(*, data: str, model: str, epochs: int, limit: int | None, pool: int, seed: int) -> Result:
    """The control that prunes nothing: a plain training, with the options that every method has."""
    loaded, net = setup(data, model, seed, limit, pool)
    given = TrainOptions()
    trainer = trainer_of(net, loaded, epochs, seed, batch_size=128, optimizer=given.make(net))
    trainer.lr = given.dense_rate(trainer.total_steps)
    trainer.run()
    return measured(net, loaded, trainer)


KINDS: dict[str, Callable[..., Result]] = {
    "method": run_method,
    "dense": dense,
    "masked": masked,
    "mask_error": mask_error,
    "logistic": logistic,
}


@dataclass
class Lab:
    """Runs or reads cells.

    Attributes:
        data: by source, 'mnist' and 'cifar10' (or digits, for either).
        count, side_count: seeds of the main comparison, and of what stands beside it.
    """

    data: dict[str, str]
    asked: Asked
    count: int
    side_count: int

    @property
    def quick(self) -> bool:
        """Whether only the code is to be checked."""
        return self.asked.quick

    def over_seeds(self, kind: str, settings: Sequence[dict[str, Any]], count: int) -> list[list[Result]]:
        """For every setting, its results at seeds 0, 1, …"""
        return self.asked.over_seeds(KINDS, kind, settings, count)

    def images(self, model: str, density: float, **more: Any) -> dict[str, Any]:
        """Settings of a run to a density of the weights."""
        options = {"levels": LEVELS[density], **more}
        return {
            "data": self.data["cifar10"],
            "model": model,
            "budget": {"groups": density},
            "epochs": (1 if self.quick else TRAINING) * (options["levels"] + 1),
            "limit": 600 if self.quick else LIMIT,
            "pool": 1 if self.data["cifar10"] == "digits" else 4 if self.quick else POOL,
            "granularity": "weight",
            "options": options,
        }

    def masks(self, settings: Sequence[dict[str, Any]], count: int) -> list[list[Result]]:
        """Runs of concave masks."""
        told = [{**s, "options": {"travel": TRAVEL, **s["options"]}} for s in settings]
        return self.over_seeds("masked", told, count)

    def magnitude(self, settings: Sequence[dict[str, Any]], count: int, name: str = "imp") -> list[list[Result]]:
        """Iterative magnitude pruning of the same networks, or a control that is named, at the same steps."""
        return self.over_seeds("method", [{**s, "name": name} for s in settings], count)

    def dense(self, settings: Sequence[dict[str, Any]], count: int) -> list[list[Result]]:
        """The same networks with nothing pruned, for as many epochs as the settings say."""
        own = [{k: s[k] for k in ("data", "model", "epochs", "limit", "pool")} for s in settings]
        return self.over_seeds("dense", own, count)
