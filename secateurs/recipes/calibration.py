"""What a score looks at during a run: some batches of the training data, and random numbers of its own."""

from __future__ import annotations

from itertools import islice

import torch

from ..criteria import Score
from ..partition import Players
from ..signals import Signals
from ..spec import derive_seed
from ..training import Trainer
from ..zoo.splits import Batch


def calibrated(
    trainer: Trainer,
    players: Players,
    score: Score,
    *,
    batches: int,
    probes: int,
    training: bool = False,
    draw: tuple[str | int, ...] = ("scores",),
) -> Signals:
    """Signals of the trainer's model; equal on every process, and after an interruption.

    Args:
        batches: how many of the training data, if the score looks at any.
        probes: random directions that a curvature is estimated with.
        training: run the model in training mode, where it has not been trained.
        draw: names the random numbers.
    """
    held = training_batches(trainer, batches, "calibration") if score.needs != "nothing" else []
    generator = torch.Generator().manual_seed(derive_seed(trainer.seed, *draw))
    return Signals(players, held, loss=trainer.loss, generator=generator, training=training, probes=probes)


def training_batches(trainer: Trainer, count: int, purpose: str) -> list[Batch]:
    """At most ``count`` batches of the training data, drawn by the run's seed for a purpose and not augmented: data may
    be stored class by class."""
    stream = trainer.data.train.batches(
        trainer.batch_size,
        epoch=0,
        seed=derive_seed(trainer.seed, purpose),
        drop_last=True,
        device=trainer.device,
        augment=False,
    )
    return list(islice(stream, count))
