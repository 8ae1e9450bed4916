"""BatchNorm recalibration: statistics of the network that is there, not of the one it was cut from.

Where channels leave, what reaches every later layer has another mean and variance, but the running statistics are
still the dense network's. Running averages of training would forget them only slowly, and weigh the last batches most.
Here every value counts once: with n_b values a channel in batch b, of mean m_b and variance v_b,

    μ = Σ n_b·m_b / Σ n_b        σ² = Σ (n_b − 1)·v_b + n_b·(m_b − μ)² over Σ n_b − 1,

so at the first BatchNorm it does not matter how the data are divided. Later ones see inputs normalised by their own
batch, as in training: batches should not be small. No labels, no gradients, no step size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import DataError
from ..structure.copying import duplicate
from ..zoo.splits import Batch
from .base import Recovery, Removal


class BatchNormStatistics(Recovery):
    """Running means and variances as plain averages over the data (He et al. 2018 report the need; Li et al. 2020,
    EagleEye, the use after pruning). See :func:`recalibrate_batchnorm`; weights do not change, so every mask holds.
    """

    name: ClassVar[str] = "batchnorm"
    summary: ClassVar[str] = "BatchNorm statistics estimated anew"
    source: ClassVar[str] = "Li et al. 2020"
    cost: ClassVar[str] = "one pass over the data"

    def __call__(self, model: nn.Module, removal: Removal, data: Iterable[Batch]) -> nn.Module:
        return recalibrate_batchnorm(model, data)


def recalibrate_batchnorm(model: nn.Module, batches: Iterable[Batch]) -> nn.Module:
    """A copy of ``model`` with its BatchNorm statistics estimated anew.

    Args:
        model: stays as it is. Dropout and whatever else differs in training is off during the pass. A network without
            running statistics comes back as a copy, and no data are read for it.
        batches: (inputs, labels); labels are not looked at.
    Returns:
        the copy. A BatchNorm that no batch reached keeps its statistics.
    Raises:
        DataError: there is no batch.
        ValueError: from PyTorch, a batch with a single value a channel, whose variance does not exist.
    """
    copy = duplicate(model)
    moments = {module: _Moments(module) for module in copy.modules() if _tracks(module)}
    if not moments:
        return copy
    device = next(copy.buffers()).device
    seen = 0
    with _by_batch(copy, moments), torch.no_grad():
        for x, _ in batches:
            copy(x.to(device))
            seen += 1
    if not seen:
        raise DataError("recalibrating BatchNorm needs data, and there is no batch; a few hundred examples will do")
    for found in moments.values():
        found.write()
    return copy


def _tracks(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None


class _Moments:
    """Mean and variance of all that one BatchNorm was given."""

    def __init__(self, module: Any) -> None:
        self.module, self.count = module, 0
        self.mean = torch.zeros_like(module.running_mean, dtype=torch.float64)
        self.squares = torch.zeros_like(self.mean)  # Σ (x − mean)²

    def add(self, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """After a forward with momentum 1: the running statistics are this batch's, so nothing is summed twice."""
        mean, variance = module.running_mean.double(), module.running_var.double()
        n = inputs[0].numel() // mean.numel()
        total, apart = self.count + n, mean - self.mean
        self.squares += variance * (n - 1) + apart.square() * (self.count * n / total)
        self.mean += apart * (n / total)
        self.count = total

    def write(self) -> None:
        if self.count:
            self.module.running_mean.copy_(self.mean)
            self.module.running_var.copy_(self.squares / (self.count - 1))


@contextmanager
def _by_batch(model: nn.Module, moments: dict[nn.Module, _Moments]) -> Iterator[None]:
    """BatchNorm normalises by the batch and keeps its statistics; all else as in evaluation. Undone afterwards."""
    modes = {module: module.training for module in model.modules()}
    momenta = {module: module.momentum for module in moments}
    hooks = [module.register_forward_hook(found.add) for module, found in moments.items()]
    model.eval()
    for module in moments:
        # The flag alone: train() would reach what a fused BatchNorm holds (activation, dropout).
        module.training, module.momentum = True, 1.0  # type: ignore[assignment]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, momentum in momenta.items():
            module.momentum = momentum
        for module, training in modes.items():
            module.training = training
