"""Learning from another network's answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .callback import Loss, logits


def distillation(teacher: nn.Module, weight: float, temperature: float, label_smoothing: float = 0.0) -> Loss:
    """(1−w)·cross-entropy + w·T²·KL(teacher‖student) at temperature T (Hinton et al. 2015), but for a constant.

    Args:
        teacher: is put into evaluation mode. weight: w, 0 to 1. temperature: T.
        label_smoothing: of the cross-entropy.
    """
    teacher.eval()

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        out = logits(model(x))
        with torch.no_grad():
            target = torch.softmax(logits(teacher(x)) / temperature, -1)
        soft = -(target * torch.log_softmax(out / temperature, -1)).sum(-1).mean() * temperature**2
        hard = nn.functional.cross_entropy(out, y, label_smoothing=label_smoothing)
        return (1 - weight) * hard + weight * soft

    return loss
