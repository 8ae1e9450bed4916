"""A recovery: a network that was cut, what was cut out of it, and data, to a better network of the same shapes.

What is lost by a cut is known: the network from before is still there. So a recovery is given a :class:`Removal`, which
holds that network and says which indices of every tensor stayed, or which entries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from ..errors import DataError
from ..structure import Surgery
from ..zoo.splits import Batch

# By parameter name, of the parameter's shape: True where an entry is kept.
Entries: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class Removal:
    """What was removed from which network.

    Attributes:
        before: the network just before the cut. It is only read.
        surgery: from its shapes to those of the network that is left; None where the shapes stay.
        masks: entries that stay, of the parameters of which single entries were set to zero and must stay so.
    """

    before: nn.Module
    surgery: Surgery | None = None
    masks: Entries | None = None

    def indices(self, name: str, axis: int) -> Tensor | None:
        """Which indices along an axis of a tensor of ``before`` stayed, ascending; None: all."""
        kept = self.surgery.kept.get(name, {}).get(axis) if self.surgery is not None else None
        return None if kept is None else torch.tensor(kept, dtype=torch.long)


class Recovery(ABC):
    """Repairs a network after a cut. The network that it is given stays as it is, and so does the one before.

    The class says of itself what the documentation lists.

    Attributes:
        name: what it is called on the command line. summary: one line. source: where it comes from.
        cost: in passes over the data.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    cost: ClassVar[str]

    @abstractmethod
    def __call__(self, model: nn.Module, removal: Removal, data: Iterable[Batch]) -> nn.Module:
        """A repaired copy, of the same modules and shapes; entries that were set to zero are still zero.

        Args:
            model: as it is after the cut.
            removal: what was cut out.
            data: batches (inputs, labels), read as often as is needed.
        """


def again(data: Iterable[Batch]) -> Iterable[Batch]:
    """``data``, if it can be read more than once.

    Raises:
        DataError: it is an iterator, which is empty after the first pass.
    """
    if iter(data) is data:
        raise DataError(
            "this recovery reads the data once for every layer, and an iterator can be read only once; give a list of "
            "batches, or an object whose __iter__ begins anew"
        )
    return data
