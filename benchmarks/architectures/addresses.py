"""What another library kept, read off the result whatever it says about itself.

Before it prunes, every weight is replaced by its own address (scattered, so that magnitudes tell nothing).
Pruning only selects, so the addresses that are left say exactly which entries stayed where. Then the true
weights are put back: into the pruned network by address, and into a copy of the dense one, zero outside of
what was kept. The two must compute the same.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def stateful(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Floating-point parameters and buffers under all their names."""
    for name, tensor in (
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ):
        if tensor.is_floating_point():
            yield name, tensor


def untied(model: nn.Module) -> nn.Module:
    """A copy in which no two names share a tensor: what is cut may no longer be tied."""
    model = copy.deepcopy(model)
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
    return model


@dataclass
class Addressed:
    """A network of addresses.

    Attributes:
        model: to be pruned, in float64 (float32 where the code demands it and no tensor is too large).
        order: name → the flat position that each rank stands for.
    """

    model: nn.Module
    order: dict[str, Tensor]

    @classmethod
    def of(cls, dense: nn.Module, dtype: torch.dtype) -> Addressed:
        model = copy.deepcopy(dense).to(dtype)
        order: dict[str, Tensor] = {}
        first: dict[int, str] = {}
        for name, tensor in stateful(model):
            if id(tensor) in first:
                order[name] = order[first[id(tensor)]]
                continue
            first[id(tensor)] = name
            if dtype == torch.float32 and tensor.numel() > 2**24:
                raise OverflowError(f"{name} has more entries than float32 can number")
            order[name] = torch.randperm(tensor.numel())
            ranks = torch.empty_like(order[name]).index_copy_(0, order[name], torch.arange(tensor.numel()))
            # Powers of two scale without rounding; values stay in (0, 1], as of an ordinary network.
            tensor.data.copy_(((ranks + 1).to(dtype) / _scale(tensor.numel())).reshape(tensor.shape))
        return cls(model, order)

    def positions(self, name: str, tensor: Tensor) -> Tensor:
        """Flat positions in the dense tensor of what is left of it.

        Raises:
            LookupError: values that are no addresses: the library computed with the weights.
        """
        count = len(self.order[name])
        ranks = tensor.detach().double() * _scale(count) - 1
        if not bool(((ranks == ranks.round()) & (ranks >= 0) & (ranks < count)).all()):
            raise LookupError(f"{name} holds values that were not there before")
        return self.order[name][ranks.long()]


def _scale(count: int) -> float:
    return float(2 ** (count - 1).bit_length() * 2)


def restored(dense: nn.Module, addressed: Addressed, pruned: nn.Module) -> tuple[nn.Module, nn.Module]:
    """(masked, cut): the dense network's weights, zero outside of what was kept; and what was kept.

    Raises:
        LookupError: the pruned network has other tensors than the dense one, or computed with them.
    """
    dtype = next(tensor.dtype for _, tensor in stateful(pruned))
    masked, cut = untied(dense), untied(pruned)
    before, left = dict(stateful(masked)), dict(stateful(cut))
    if set(before) != set(left):
        raise LookupError(f"tensors appeared or vanished: {', '.join(sorted(set(before) ^ set(left))[:3])}")
    for name, tensor in before.items():
        where = addressed.positions(name, left[name])
        values = tensor.detach().flatten()[where]
        kept = torch.zeros(tensor.numel(), dtype=torch.bool)
        kept[where.flatten()] = True
        if name.endswith("running_var"):
            kept[:] = True  # zeroing a variance would divide by nothing; weight and bias silence the channel
        tensor.data.copy_(torch.where(kept.reshape(tensor.shape), tensor.detach(), 0))
        left[name].data = values.to(dtype)
    return masked, cut.to(next(tensor.dtype for _, tensor in stateful(dense)))
