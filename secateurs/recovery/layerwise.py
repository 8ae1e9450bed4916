"""Repairs of one reader after the other: what was mended upstream is what the next one is given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

from torch import nn

from ..zoo.splits import Batch
from .base import Recovery, Removal
from .readers import Pair, Reader, paired


class Layerwise(Recovery):
    """Mends every reader that does not return what it returned before, in the order in which they run.

    A reader that is called several times may feed itself: what was best for what it was given changes what it is given.
    There the squared error is measured afterwards, and if it rose the reader stays as it was.
    """

    def __call__(self, model: nn.Module, removal: Removal, data: Iterable[Batch]) -> nn.Module:
        with paired(model, removal, data) as pair:
            for reader in pair.readers:
                if not (reader.lost or pair.changed(reader)):
                    continue
                if reader.calls == 1:
                    self.mend(pair, reader)
                else:
                    self._mend_measured(pair, reader)
        return pair.repaired

    @abstractmethod
    def mend(self, pair: Pair, reader: Reader) -> None:
        """Change a reader's weight or bias, in place, so that its squared error does not rise on what it is given."""

    def _mend_measured(self, pair: Pair, reader: Reader) -> None:
        held = [(t, t.clone()) for t in reader.module.parameters(recurse=False)]
        before = _error(pair, reader)
        self.mend(pair, reader)
        if not _error(pair, reader) <= before:
            for tensor, value in held:
                tensor.copy_(value)


def _error(pair: Pair, reader: Reader) -> float:
    return sum(float((call.before.double() - call.y.double()).square().sum()) for call in pair.calls(reader))
