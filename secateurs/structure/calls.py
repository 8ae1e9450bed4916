"""The operator calls of one forward pass, with what their sizes follow from.

Whoever asks what a layer costs at other widths (a latency table, say) needs each operator with its arguments, and for
every axis of a tensor argument which atoms index it. The model is traced once more for that, on fake tensors; the
labels carry atoms in place of nodes, so a structure that was computed by ``restrict`` serves as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree

from ..errors import StructureError
from .copying import copy_with
from .labels import Array, Block, Label, make_data
from .ledger import Ledger
from .naming import inside
from .tracing import Fakes, fake, fake_inputs, follow
from .types import Structure


@dataclass(frozen=True)
class Operand:
    """A tensor argument.

    Attributes:
        shape, dtype: as in the model that was traced.
        axes: dimension → atom of each index, −1 where it stays; dimensions that no cut changes are left out.
        channels_last: how it lies in memory.
        device: where it is.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    axes: dict[int, Array] = field(compare=False)
    channels_last: bool = False
    device: torch.device = field(default=torch.device("cpu"), compare=False)


@dataclass(frozen=True)
class OperatorCall:
    """One operator call: ``operator(*args, **kwargs)``, with an :class:`Operand` in place of each tensor.

    Attributes:
        path: the innermost module that runs it.
        fixed: an argument changes with a cut in a way that is not one axis at a time (joint axes): its cost at other
            sizes is not to be had by changing lengths.
        blocks: atoms of the residual blocks that it is part of, outermost first.
    """

    path: str
    operator: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    fixed: bool
    blocks: tuple[int, ...] = ()

    @property
    def operands(self) -> list[Operand]:
        return [leaf for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Operand)]

    @property
    def atoms(self) -> list[Array]:
        """The distinct sets of atoms that its sizes follow, in order: mostly those of the layer before and of its own.

        Axes that repeat the same atoms (groups of a convolution, widths within heads) follow the same set.
        """
        found: dict[bytes, Array] = {}
        for operand in self.operands:
            for ids in operand.axes.values():
                atoms = atoms_of(ids)
                found.setdefault(atoms.tobytes(), atoms)
        return list(found.values())

    def resized(self, kept: Mapping[bytes, int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Its arguments once so many of the atoms of each set are left, by the set's bytes; others stay whole.

        Numbers that count an axis (groups, a norm's shape) follow.
        """

        def length(ids: Array) -> int:
            atoms = atoms_of(ids)
            cut = int((ids >= 0).sum())
            return len(ids) - cut + round(cut * kept.get(atoms.tobytes(), len(atoms)) / len(atoms))

        def resized(value: Any) -> Any:
            if not isinstance(value, Operand):
                return value
            shape = [length(value.axes[d]) if d in value.axes else size for d, size in enumerate(value.shape)]
            return replace(value, shape=tuple(shape))

        args, kwargs = _pytree.tree_map(resized, (self.args, self.kwargs))
        return self._following(args), kwargs

    def _following(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        name = self.operator._schema.name.partition("::")[2]
        if name not in FOLLOWING:
            return args
        position = next(i for i, a in enumerate(self.operator._schema.arguments) if a.name == FOLLOWING[name])
        if position >= len(args):
            return args
        number = args[position]
        if name == "native_layer_norm":
            number = list(args[0].shape[-len(number) :])
        elif name == "native_group_norm":
            number = args[0].shape[1]
        elif number > 1:  # as many groups as the input has of a filter's channels; transposed, as the weight's rows
            number = max(args[0].shape[1] // args[1].shape[1], 1) if not args[6] else number
        return (*args[:position], number, *args[position + 1 :])


FOLLOWING = {
    "convolution": "groups",
    "_convolution": "groups",
    "native_layer_norm": "normalized_shape",
    "native_group_norm": "C",
}


def atoms_of(ids: Array) -> Array:
    """The atoms among the indices of an axis, each once."""
    return np.unique(ids[ids >= 0])


def leaves(tree: Any) -> Iterator[Any]:
    """Whatever stands in nested arguments."""
    yield from _pytree.tree_leaves(tree)


class _Calls(Ledger):
    """A ledger whose nodes are atoms, and which keeps the calls."""

    def __init__(self, structure: Structure | None) -> None:
        super().__init__()
        self._axes = structure.axes if structure is not None else {}
        self._bypasses = structure.bypasses if structure is not None else []
        self.calls: list[OperatorCall] = []

    def tensor(self, name: str, shape: Sequence[int]) -> Label:
        found = ((axis, self._axes.get((name, axis))) for axis in range(len(shape)))
        blocks = [Block((axis,), make_data(ids, columns=[ids])) for axis, ids in found if ids is not None]
        return Label(tuple(shape), tuple(blocks))

    def fresh(self, count: int) -> Array:
        self.loose.append(np.full(count, -1, dtype=np.int64))
        return self.loose[-1]

    def called(self, func: Any, args: Any, kwargs: Any, path: str, label_of: Callable[[Tensor], Label]) -> None:
        joint = False

        def operand(value: Any) -> Any:
            nonlocal joint
            if not isinstance(value, Tensor):
                return value
            axes = {}
            for block in label_of(value).blocks:
                held = _changing(block)
                joint |= held is None
                axes.update(held or {})
            last = value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
            plain = value.is_contiguous()
            return Operand(tuple(value.shape), value.dtype, axes, last and not plain, value.device)

        args, kwargs = _pytree.tree_map(operand, (tuple(args), dict(kwargs)))
        blocks = tuple(b.atom for b in self._bypasses if inside(path, b.path))
        self.calls.append(OperatorCall(path, func, args, kwargs, joint, blocks))


def _changing(block: Block) -> dict[int, Array] | None:
    """The one dimension of a block along which a cut runs; nothing where none does, None where it is not one."""
    ids = block.ids
    if not (ids >= 0).any():
        return {}
    for axis, dim in enumerate(block.dims):
        first = np.moveaxis(ids, axis, 0).reshape(len(np.moveaxis(ids, axis, 0)), -1)
        if (first == first[:, :1]).all():
            return {dim: np.ascontiguousarray(first[:, 0])}
    return None


def calls(model: nn.Module, structure: Structure | None, inputs: Any) -> list[OperatorCall]:
    """The operators that ``model(inputs)`` runs in evaluation mode, in order.

    Args:
        structure: of this model; without one, sizes are those of the model and depend on nothing.
        inputs: a tensor, a tuple of arguments or a dict of keyword arguments; another batch than that of the trace
            will do.

    Raises:
        StructureError: the model does not run on the inputs.
    """
    mode = Fakes()
    try:
        return _run(copy_with(model, lambda _, t: fake(mode, t)), structure, fake_inputs(mode, inputs), mode)
    except StructureError:
        raise
    except Exception:  # data-dependent Python, or an operator without a fake kernel
        pass
    try:
        return _run(copy_with(model, lambda _, t: t.detach()), structure, inputs, None)
    except Exception as error:
        raise StructureError(f"{type(model).__name__} does not run on these inputs: {error}") from error


def _run(shadow: nn.Module, structure: Structure | None, inputs: Any, mode: Fakes | None) -> list[OperatorCall]:
    ledger = _Calls(structure)
    ledger.faked = mode is not None
    follow(shadow, inputs, mode, ledger)
    return ledger.calls
