"""Where the code looks at values.

Python that branches on data can run, on other data, what no trace has seen. Fake tensors have no values, so a model
that looks at some is read on real ones, and here it is noted which modules did. The unseen code is then in one of
those, or in one that such a module hands what it learnt: anything but floating tensors as long as what it was given,
for numbers, indices and selections are what Python branches on. What a module leaves on its attributes for others to
branch on goes unnoticed. Layers of PyTorch itself have no branches that lead to other layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree

from .copying import tensors_in
from .labels import Array

# Values that leave for Python without an operator.
TAKEN = (Tensor.tolist, Tensor.numpy, Tensor.__array__)
INDEXED = ("aten::index", "aten::_unsafe_index")  # the shape depends on data only where a mask indexes


@dataclass(frozen=True)
class Visit:
    """One call of a module: the operators that ran in it, and the nodes on the axes of its arguments."""

    path: str
    operators: range
    arguments: list[Array]


@dataclass
class _Frame:
    """A running module."""

    path: str
    torchs: bool
    start: int
    lengths: set[int]
    arguments: list[Array]
    decides: bool = False


@dataclass
class Decisions:
    """What looked at values in the runs on real tensors.

    Attributes:
        modules: paths of modules whose code may branch on data.
        origins: the operators and tensors whose values were looked at.
    """

    modules: set[str] = field(default_factory=set)
    origins: set[int] = field(default_factory=set)
    visits: list[Visit] = field(default_factory=list)
    _open: list[_Frame] = field(default_factory=list)

    def copy(self) -> Decisions:
        return Decisions(set(self.modules), set(self.origins), list(self.visits))

    def enter(self, path: str, module: nn.Module, given: Any, operator: int, ids_of: Callable[[Tensor], Any]) -> None:
        """A module starts; ``operator`` is the number of the last one before it."""
        tensors = tensors_in(given)
        torchs = type(module).__module__.startswith("torch.nn.")
        lengths = {t.shape[0] for t in tensors if t.dim()}
        nodes = [ids for t in tensors for ids in ids_of(t)]
        self._open.append(_Frame(path, torchs, operator + 1, lengths, nodes))

    def leave(self, out: Any, operator: int) -> None:
        """A module ends, after this operator. One that fails returns None, which somebody may catch."""
        frame = self._open.pop()
        self.visits.append(Visit(frame.path, range(frame.start, operator + 1), frame.arguments))
        if frame.decides:
            self.modules.add(frame.path)
            if self._open and (out is None or any(_tells(leaf, frame.lengths) for leaf in _leaves(out))):
                self._open[-1].decides = True

    def look(self, origins: set[int]) -> None:
        """The code that runs now looks at values."""
        if self._open and not self._open[-1].torchs:
            self._open[-1].decides = True
            self.origins |= origins


def looks(func: Any, inputs: list[Tensor]) -> bool:
    """Does an operator tell Python about values, by what it returns or by how much?"""
    if torch.Tag.data_dependent_output in func.tags:
        return True
    masked = func._schema.name not in INDEXED or any(t.dtype in (torch.bool, torch.uint8) for t in inputs)
    return torch.Tag.dynamic_output_shape in func.tags and masked


class Looking(TorchFunctionMode):
    """Notices values that are taken without an operator."""

    def __init__(self, look: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._look = look

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in TAKEN:
            self._look(args[0])
        return func(*args, **(kwargs or {}))


def _tells(leaf: Any, lengths: set[int]) -> bool:
    """Could Python branch on this without looking at values again?"""
    if not isinstance(leaf, Tensor):
        return leaf is not None
    return not leaf.is_floating_point() or (leaf.dim() > 0 and leaf.shape[0] not in lengths)


def _leaves(value: Any) -> Iterator[Any]:
    for leaf in _pytree.tree_leaves(value):
        if isinstance(leaf, dict):
            yield from _leaves(dict(leaf))
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            yield from _leaves([getattr(leaf, f.name) for f in dataclasses.fields(leaf)])
        else:
            yield leaf
