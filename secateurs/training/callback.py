"""What the loop asks of data, and what others may do at its moments. The loop itself knows no pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from .trainer import Trainer

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""``loss(model, x, y)`` → the batch's mean loss. It calls the model itself, so it may call others too."""


class Batches(Protocol):
    """Part of a data set that serves batches in an order given by (seed, epoch)."""

    def __len__(self) -> int: ...

    def batches(
        self,
        batch_size: int,
        *,
        epoch: int | None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
        device: torch.device | str | None = None,
        start: int = 0,
        augment: bool = True,
    ) -> Iterator[tuple[Tensor, Tensor]]: ...


class TrainingData(Protocol):
    """What a trainer reads: two parts and a fingerprint."""

    hash: str

    @property
    def train(self) -> Batches: ...

    @property
    def validation(self) -> Batches: ...


class Callback:
    """Something that takes part in training. Every method may be left out.

    ``trainer.step`` is the index of the step concerned in the ``…_step`` and ``…_update`` methods, and the
    number of steps done in ``on_epoch_end``. Torch's random state at each step is a function of (seed, step,
    process): what a callback draws there is reproduced by a resumed run.
    """

    def on_start(self, trainer: Trainer) -> None:
        """Once, before the first step or before a checkpoint is loaded."""

    def before_load(self, trainer: Trainer, tree: dict[str, Any]) -> None:
        """Before a checkpoint's weights are loaded: give the model the shapes that it had.

        ``tree`` is the whole checkpoint; the callback's own part is ``tree["callbacks"]``'s, and is loaded
        afterwards by :meth:`load_state_dict`.
        """

    def before_step(self, trainer: Trainer) -> None:
        """Before the forward pass."""

    def before_update(self, trainer: Trainer) -> None:
        """Between the backward pass and the optimizer's step; gradients are unscaled, not yet clipped."""

    def after_step(self, trainer: Trainer, loss: float | None) -> None:
        """After the optimizer's step.

        ``loss`` is the mean since it was last given, and None at most steps: reading it at each would stall
        the device.
        """

    def on_epoch_end(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        """After an epoch. ``metrics``: epoch, step, loss and, if validated, accuracy and validation_loss."""

    def state_dict(self) -> Any:
        """What a resumed run needs: tensors, numbers, strings, in dicts and lists."""
        return {}

    def load_state_dict(self, state: Any) -> None:
        """Take back what :meth:`state_dict` gave."""


def cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """The default loss: mean cross-entropy of the model's logits (or of its output's ``.logits``)."""

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits(model(x)), y, label_smoothing=label_smoothing)

    return loss


def logits(output: Any) -> Tensor:
    """A model's output, or its ``logits`` where it is a structure."""
    return output if isinstance(output, Tensor) else output.logits
