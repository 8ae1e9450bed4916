"""One step: forward, backward, the optimizer. What happens at it is a function of (seed, step, process)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..spec import derive_seed
from .callback import Callback

if TYPE_CHECKING:
    from .trainer import Trainer


def prepare(trainer: Trainer) -> None:
    """Set torch's random state and the learning rate of the step about to be done."""
    seed = derive_seed(trainer.seed, "step", trainer.step, trainer.rank)
    torch.default_generator.manual_seed(seed)
    if trainer.device.type == "cuda":
        torch.cuda.manual_seed(seed)
    if trainer.lr is not None:
        factor = trainer.lr(trainer.step)
        for group in trainer.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def update(trainer: Trainer, model: nn.Module, x: Tensor, y: Tensor, between: Sequence[Callback]) -> None:
    """Take one optimizer step on a batch.

    Args:
        model: the trainer's, wrapped so that gradients are averaged over processes.
        between: callbacks with something to do between the backward pass and the step.
    """
    optimizer, scaler = trainer.optimizer, trainer.accelerator.scaler
    mixed = trainer.accelerator.mixed_precision != "no"
    with trainer.accelerator.autocast() if mixed else contextlib.nullcontext():
        loss = trainer.loss(model, x, y)
    trainer.losses.add(loss.detach())
    (loss if scaler is None else scaler.scale(loss)).backward()
    if scaler is not None and (between or trainer.clip is not None):
        scaler.unscale_(optimizer)
    for callback in between:
        callback.before_update(trainer)
    if trainer.clip is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), trainer.clip)
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()
    optimizer.zero_grad(set_to_none=True)
