"""A recovery: a network that was cut, and data, to a better network of the same shapes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, TypeAlias

from torch import Tensor, nn

from ..zoo.splits import Batch

# By parameter name, of the parameter's shape: True where an entry is kept.
Entries: TypeAlias = Mapping[str, Tensor]


class Recovery(ABC):
    """Repairs a network after a cut. The network that it is given stays as it is."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, model: nn.Module, mask: Entries | None, data: Iterable[Batch]) -> nn.Module:
        """A repaired copy.

        Args:
            model: as it is after the cut.
            mask: entries that are zero and must stay so; None after ``shrink``, which leaves none.
            data: batches (inputs, labels), read once.
        """
