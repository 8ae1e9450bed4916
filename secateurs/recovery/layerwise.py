"""Repairs of one reader after the other: what was mended upstream is what the next one is given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

from torch import nn

from ..zoo.splits import Batch
from .base import Recovery, Removal
from .readers import Pair, Reader, paired


class Layerwise(Recovery):
    """Mends every reader that does not return what it returned before, in the order in which they run."""

    def __call__(self, model: nn.Module, removal: Removal, data: Iterable[Batch]) -> nn.Module:
        with paired(model, removal, data) as pair:
            for reader in pair.readers:
                if pair.changed(reader):
                    self.mend(pair, reader)
        return pair.repaired

    @abstractmethod
    def mend(self, pair: Pair, reader: Reader) -> None:
        """Change a reader's weight or bias, in place."""
