"""What a score looks at during a run: some batches of the training data, and random numbers of its own."""

from __future__ import annotations

import torch

from ..criteria import Score
from ..partition import Players
from ..signals import Signals
from ..spec import derive_seed
from ..training import Trainer


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
    held = []
    if score.needs != "nothing":
        stream = trainer.data.train.batches(
            trainer.batch_size, epoch=None, seed=trainer.seed, drop_last=True, device=trainer.device
        )
        for batch in stream:
            held.append(batch)
            if len(held) == batches:
                break
    generator = torch.Generator().manual_seed(derive_seed(trainer.seed, *draw))
    return Signals(players, held, loss=trainer.loss, generator=generator, training=training, probes=probes)
