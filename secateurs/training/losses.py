"""Losses are kept on the device and read in bulk, so that no step waits for the device to answer."""

from __future__ import annotations

import math
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from .processes import means


class BadLoss(Exception):
    """A loss that is not finite: at which step first, on any process, and what it was."""

    def __init__(self, step: int, value: str) -> None:
        super().__init__(value)
        self.step, self.value = step, value


class LossLog:
    """Losses by step: those not yet read, and running means for two readers (the callbacks and the epoch).

    Sums are taken one by one in float64, so they do not depend on when they were read: an interrupted run,
    which reads once more, reports the same means.
    """

    def __init__(self) -> None:
        self._window: list[Tensor | float] = []
        self._first = 0  # step of the window's first loss
        self._recent = (0.0, 0)
        self._epoch = (0.0, 0)

    @property
    def pending(self) -> bool:
        """Whether some losses have not been read."""
        return bool(self._window)

    def add(self, loss: Tensor) -> None:
        """Note a step's loss, a scalar tensor without graph."""
        self._window.append(loss)

    def read(self, accelerator: Accelerator) -> None:
        """Bring the noted losses from the device, average over processes, add up. All call this together.

        Raises:
            BadLoss: one of them is NaN or infinite, on any process.
        """
        values = means(self._to_floats(), accelerator)
        for i, value in enumerate(values):
            if not math.isfinite(value):
                raise BadLoss(self._first + i, str(value))
        for value in values:
            self._recent = (self._recent[0] + value, self._recent[1] + 1)
            self._epoch = (self._epoch[0] + value, self._epoch[1] + 1)
        self._first += len(values)
        self._window = []

    def take_recent(self) -> float:
        """Mean of the losses read since this was last asked."""
        (total, count), self._recent = self._recent, (0.0, 0)
        return total / max(count, 1)

    def take_epoch(self) -> float:
        """Mean of the losses read since this was last asked."""
        (total, count), self._epoch = self._epoch, (0.0, 0)
        return total / max(count, 1)

    @property
    def finite(self) -> bool:
        """Whether all losses not yet read are finite. Reads them, without adding them up."""
        return all(map(math.isfinite, self._to_floats()))

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {
            "window": list(self._to_floats()),
            "first": self._first,
            "recent": list(self._recent),
            "epoch": list(self._epoch),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._window, self._first = list(state["window"]), state["first"]
        self._recent, self._epoch = tuple(state["recent"]), tuple(state["epoch"])

    def restart(self, step: int) -> None:
        """Forget everything; the next loss is that of ``step``."""
        self.__init__()  # type: ignore[misc]
        self._first = step

    def _to_floats(self) -> list[float]:
        tensors = [v for v in self._window if isinstance(v, Tensor)]
        read = iter(torch.stack(tensors).float().tolist() if tensors else [])
        values = [next(read) if isinstance(v, Tensor) else v for v in self._window]
        self._window = list(values)
        return values
