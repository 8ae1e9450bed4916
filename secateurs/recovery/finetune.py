"""Repairs by training: short, deterministic, on the data that are there.

Statistics of BatchNorm are learnt along the way, as in any training; entries that were set to zero are set to zero
again after every step.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..errors import DataError, DivergenceError, ModelError
from ..structure.copying import duplicate
from ..training import Loss, cosine, cross_entropy
from ..training.distillation import distillation
from ..zoo.splits import Batch
from .base import Entries, Recovery, Removal, again
from .running import still


class Training(Recovery):
    """Some steps of an optimizer, over the data again and again; half a cosine to zero after a short warm-up.

    Args:
        steps: of the optimizer, a batch each.
        lr: at its peak; by default 1e-3 for adam, 1e-2 for sgd (Nesterov momentum 0.9).
        optimizer: ``adam`` or ``sgd``.
        seed: of whatever is drawn, dropout for instance.
    """

    def __init__(
        self, steps: int = 200, lr: float | None = None, optimizer: Literal["adam", "sgd"] = "adam", seed: int = 0
    ) -> None:
        self.steps, self.optimizer, self.seed = steps, optimizer, seed
        self.lr = lr if lr is not None else 1e-3 if optimizer == "adam" else 1e-2

    @abstractmethod
    def loss(self, removal: Removal) -> Loss:
        """What is to become small."""

    def __call__(self, model: nn.Module, removal: Removal, data: Iterable[Batch]) -> nn.Module:
        copy = duplicate(model)
        trained = [p for p in copy.parameters() if p.requires_grad]
        if not trained:
            raise ModelError("no parameter asks for gradients (requires_grad), so there is nothing to train")
        with still(removal.before), _training(copy, self.seed):
            losses = self._train(copy, trained, removal, again(data))
        if not all(map(math.isfinite, losses.tolist())):
            raise DivergenceError(
                f"{self.name} did not converge: the loss became {float(losses[~losses.isfinite()][0])}; try a smaller "
                f"step size than lr={self.lr:g}"
            )
        return copy

    def _train(self, model: nn.Module, trained: list[nn.Parameter], removal: Removal, data: Iterable[Batch]) -> Tensor:
        loss, rate = self.loss(removal), cosine(self.steps, warmup=max(1, self.steps // 20))
        if self.optimizer == "adam":
            optimizer: torch.optim.Optimizer = torch.optim.Adam(trained, self.lr)
        else:
            optimizer = torch.optim.SGD(trained, self.lr, momentum=0.9, nesterov=True)
        held, losses, device = _held(model, removal.masks or {}), [], trained[0].device
        for step, (x, y) in zip(range(self.steps), _endless(data)):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * rate(step)
            optimizer.zero_grad()
            value = loss(model, x.to(device), y.to(device))
            value.backward()
            optimizer.step()
            with torch.no_grad():
                for parameter, mask in held:
                    parameter.mul_(mask)
            losses.append(value.detach())
        return torch.stack(losses).double()


class Finetune(Training):
    """Cross-entropy of the labels; or another loss, ``loss(model, x, y)``. See :class:`Training`."""

    name: ClassVar[str] = "finetune"
    summary: ClassVar[str] = "a short training on the labels"
    source: ClassVar[str] = "Han et al. 2015"
    cost: ClassVar[str] = "200 training steps"

    def __init__(
        self,
        steps: int = 200,
        lr: float | None = None,
        optimizer: Literal["adam", "sgd"] = "adam",
        seed: int = 0,
        loss: Loss | None = None,
    ) -> None:
        super().__init__(steps, lr, optimizer, seed)
        self._loss = loss or cross_entropy()

    def loss(self, removal: Removal) -> Loss:
        return self._loss


class Distill(Training):
    """The answers of the network before, beside the labels (:func:`secateurs.training.distillation`).

    Args:
        weight: of the former, 0 to 1; at 1 labels are not looked at.
        temperature: of both networks' answers.
    """

    name: ClassVar[str] = "distill"
    summary: ClassVar[str] = "a short training on the answers of the network before the cut"
    source: ClassVar[str] = "Hinton et al. 2015"
    cost: ClassVar[str] = "200 training steps, and the network before run beside"

    def __init__(
        self,
        steps: int = 200,
        lr: float | None = None,
        optimizer: Literal["adam", "sgd"] = "adam",
        seed: int = 0,
        weight: float = 0.5,
        temperature: float = 2.0,
    ) -> None:
        super().__init__(steps, lr, optimizer, seed)
        self.weight, self.temperature = weight, temperature

    def loss(self, removal: Removal) -> Loss:
        return distillation(removal.before, self.weight, self.temperature)


@contextmanager
def _training(model: nn.Module, seed: int) -> Iterator[None]:
    """Training mode, and a random state of its own; both are put back."""
    modes = [(m, m.training) for m in model.modules()]
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(seed)
        model.train()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for parameter in model.parameters():
                parameter.grad = None


def _held(model: nn.Module, masks: Entries) -> list[tuple[nn.Parameter, Tensor]]:
    named = dict(model.named_parameters(remove_duplicate=False))
    return [(named[name], mask.to(named[name])) for name, mask in masks.items() if name in named]


def _endless(data: Iterable[Batch]) -> Iterator[Batch]:
    """The data from the first to the last, again and again."""
    while True:
        empty = True
        for batch in data:
            empty = False
            yield batch
        if empty:
            raise DataError("a training needs data, and there is no batch")
