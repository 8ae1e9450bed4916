"""Exact accuracy: correct answers are counted, not averaged over batches of unequal size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import DataError
from .callback import Batches, logits


@dataclass(frozen=True)
class Evaluation:
    """``accuracy`` = correct/n and the mean cross-entropy ``loss`` over ``n`` examples."""

    accuracy: float
    loss: float
    n: int
    correct: int


def evaluate(
    model: nn.Module,
    split: Batches,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    *,
    rank: int = 0,
    world: int = 1,
) -> Evaluation:
    """Evaluate ``model`` in eval mode on every example of ``split``, in order, without augmentation.

    Each module's mode is restored afterwards. With ``world`` processes each evaluates its slices, and all
    return the sums over all.

    Args:
        device: where batches go; default: where the model's parameters are.
    Raises:
        DataError: the split has no example.
    """
    if device is None:
        parameter = next(model.parameters(), None)
        device = parameter.device if parameter is not None else torch.device("cpu")
    modes = [(module, module.training) for module in model.modules()]
    correct, losses, count = [], [], 0
    try:
        model.eval()
        with torch.no_grad():
            for x, y in split.batches(batch_size, epoch=None, rank=rank, world=world, device=device):
                if len(y) == 0:
                    continue
                output = logits(model(x)).float()
                correct.append((output.argmax(-1) == y).sum())
                losses.append(F.cross_entropy(output, y, reduction="sum"))
                count += len(y)
    finally:
        for module, mode in modes:
            module.training = mode
    # One transfer for the whole split.
    right = int(torch.stack(correct).sum()) if correct else 0
    total = float(torch.stack(losses).cpu().double().sum()) if losses else 0.0
    if world > 1:
        sums = torch.tensor([right, total, count], dtype=torch.float64, device=device)
        torch.distributed.all_reduce(sums)
        right, total, count = int(sums[0]), float(sums[1]), int(sums[2])
    if not count:
        raise DataError("there is no example to evaluate on: the split is empty")
    return Evaluation(right / count, total / count, count, right)


def evaluate_many(models: Mapping[str, nn.Module], split: Batches, batch_size: int = 512) -> dict[str, Evaluation]:
    """Evaluate several networks on one reading of ``split``: every batch is drawn once and given to all."""
    batches = [(x, y) for x, y in split.batches(batch_size, epoch=None) if len(y)]
    once = Held(batches)
    return {name: evaluate(model, once, batch_size) for name, model in models.items()}


class Held:
    """Batches that are there already, as a split: they are served as they come."""

    def __init__(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return sum(len(y) for _, y in self._batches)

    def batches(
        self, batch_size: int, *, device: torch.device | str | None = None, **_: Any
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for x, y in self._batches:
            yield x.to(device), y.to(device)
