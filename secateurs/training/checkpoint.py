"""A run's last good state, in one file that is replaced whole or not at all."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from ..errors import ArtifactError, RunError
from ..storage import load_tree, save_tree

FILE = "checkpoint.safetensors"
FORMAT = 3


class Checkpoint:
    """The checkpoint file of a run folder.

    Attributes:
        path: of the file.
        step: of the last one written or read, None before.
        cost: seconds that writing it took.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / FILE
        self.step: int | None = None
        self.cost = 0.0
        self.written = time.monotonic()

    @property
    def exists(self) -> bool:
        """Whether there is one to continue from."""
        return self.path.is_file()

    @property
    def age(self) -> float:
        """Seconds since the last one was written (or since this object was made)."""
        return time.monotonic() - self.written

    @property
    def kept(self) -> str:
        """What there is to go back to, in words."""
        if self.step is None:
            return "no checkpoint had been written yet"
        return f"the last good checkpoint, step {self.step}, is kept in {str(self.path)!r}"

    def write(self, tree: dict[str, Any]) -> bool:
        """Write ``tree`` (with ``model`` and ``step``), unless its weights are not finite: then False.

        Raises:
            RunError: the folder cannot be written.
        """
        if not finite(tree["model"]):
            return False
        start = time.monotonic()
        try:
            save_tree(self.path, {"format": FORMAT, **tree})
        except OSError as error:
            raise RunError(f"cannot write {str(self.path)!r}: {error.strerror or error}; free some space") from error
        self.step, self.written = int(tree["step"]), time.monotonic()
        self.cost = self.written - start
        return True

    def read(self) -> dict[str, Any]:
        """The tree that was written.

        Raises:
            RunError: there is none, it is damaged, or another version wrote it.
        """
        if not self.exists:
            raise RunError(f"no checkpoint {str(self.path)!r} to resume from; start the run without --resume")
        for left in self.path.parent.glob(f".{FILE}.*.part"):  # by a process that was killed while writing
            left.unlink(missing_ok=True)
        try:
            tree = load_tree(self.path)
        except ArtifactError as error:
            raise RunError(f"{error}; delete it and start again with --force") from error
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            raise RunError(f"{str(self.path)!r} was written by another version; start again with --force")
        self.step = int(tree["step"])
        return tree


def finite(state: dict[str, Any]) -> bool:
    """Whether every floating-point tensor of a state is finite."""
    floats = [t for t in state.values() if isinstance(t, torch.Tensor) and t.is_floating_point()]
    return all(bool(torch.isfinite(t).all()) for t in floats)
