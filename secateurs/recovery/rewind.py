"""Rewinding: the network that is left, with the weights that it had at an earlier time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..structure.copying import duplicate, named_tensors
from ..zoo.splits import Batch
from .base import Recovery, Removal


class Rewind(Recovery):
    """What stays of an earlier state of the network before (Frankle et al. 2019): its tensors, cut by the removal.

    Args:
        state: ``state_dict()`` of the network before at that time: all parameters. Buffers (BatchNorm's statistics)
            that it does not hold stay as they are.
    Raises:
        ModelError: a parameter is missing in the state, or has another shape than in the network before.
    """

    name: ClassVar[str] = "rewind"
    summary: ClassVar[str] = "weights as they were at an earlier time"
    source: ClassVar[str] = "Frankle et al. 2019"
    cost: ClassVar[str] = "none"

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state

    def __call__(self, model: nn.Module, removal: Removal, data: Iterable[Batch] = ()) -> nn.Module:
        copy = duplicate(model)
        parameters, before = dict(copy.named_parameters()), dict(named_tensors(removal.before))
        with torch.no_grad():
            for name, tensor in named_tensors(copy):
                if name not in self.state:
                    if name in parameters:
                        raise ModelError(f"the state to rewind to has no {name!r}; give the state of the whole network")
                    continue
                then = self.state[name]
                if name in before and then.shape != before[name].shape:
                    raise ModelError(
                        f"the state to rewind to holds {name!r} of shape {tuple(then.shape)}, in the network before "
                        f"the cut it is {tuple(before[name].shape)}; give a state of that network"
                    )
                tensor.copy_(removal.surgery.cut(name, then) if removal.surgery is not None else then)
                if removal.masks is not None and name in removal.masks:
                    tensor.mul_(removal.masks[name].to(tensor))
        return copy
