"""Gates of one parameter: who owns each index of its axes, and what is reduced and scaled along them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Gate:
    """Owners along one axis of a parameter.

    Attributes:
        name: qualified name of the parameter.
        axis: the axis the owners lie along; None when every element has its own (weight granularity).
        owner: player of each index, ``(size,)`` or the parameter's shape; −1 where nobody owns it. A number stands for
            consecutive players from there on: single weights are too many to be listed.
    """

    name: str
    axis: int | None
    owner: Tensor | int

    def owners(self, shape: torch.Size, device: torch.device) -> Tensor:
        """Player of each index, listed."""
        if isinstance(self.owner, Tensor):
            return self.owner.to(device)
        size = shape.numel() if self.axis is None else shape[self.axis]
        return torch.arange(self.owner, self.owner + size, device=device)

    def span(self, shape: torch.Size) -> slice | None:
        """The slice of players that the owners are, when they are one."""
        if isinstance(self.owner, Tensor):
            return _consecutive(self.owner)
        return slice(self.owner, self.owner + (shape.numel() if self.axis is None else shape[self.axis]))


class Block:
    """One parameter with its gates, ready to reduce and to scale."""

    def __init__(self, gates: Sequence[Gate], count: int, shape: torch.Size, device: torch.device) -> None:
        self.axes = [gate.axis for gate in gates]
        self.shape = shape
        self.slices = [gate.span(shape) for gate in gates]
        self.owners = [self._listed(g, count, device) if s is None else None for g, s in zip(gates, self.slices)]

    def _listed(self, gate: Gate, count: int, device: torch.device) -> Tensor:
        """Owners, with a last number for nobody."""
        owners = gate.owners(self.shape, device)
        return torch.where(owners < 0, count, owners)

    def players(self, k: int) -> Tensor | slice:
        """Whose the k-th gate is, each once, to index with; possibly nobody's last number among them."""
        span, owners = self.slices[k], self.owners[k]
        if span is not None:
            return span
        assert owners is not None
        return owners.flatten().unique()

    def factor(self, k: int, extended: Tensor) -> Tensor:
        """The k-th gate's player values, shaped to broadcast against the parameter."""
        span = self.slices[k]
        values = extended[self.owners[k] if span is None else span]
        axis = self.axes[k]
        if axis is None:
            return values.view(self.shape)
        return values.view([-1 if a == axis else 1 for a in range(len(self.shape))])

    def product(self, extended: Tensor, skip: int | None = None) -> Tensor:
        """Product of all gates' factors but the ``skip``-th; 1 when nothing is left."""
        factors = [self.factor(k, extended) for k in range(len(self.axes)) if k != skip]
        return functools.reduce(torch.mul, factors) if factors else extended.new_ones(())

    def reduce_into(self, sums: Tensor, left: Tensor, right: Tensor, extended: Tensor | None) -> None:
        """sums[g] += Σ over g's slice of left·right, times the other gates' factors when ``extended`` is given."""
        for k, axis in enumerate(self.axes):
            crossed = left * self.product(extended, skip=k) if extended is not None and len(self.axes) > 1 else left
            self._add(sums, k, _axis_dot(crossed, right, axis))

    def _add(self, sums: Tensor, k: int, row: Tensor) -> None:
        span, owners = self.slices[k], self.owners[k]
        if span is not None:
            sums[span].add_(row)
        else:
            assert owners is not None
            sums.index_add_(0, owners.flatten(), row.flatten().to(sums.dtype))

    def sq_norm_into(self, sums: Tensor, t: Tensor) -> None:
        """sums[g] += ‖t_g‖²."""
        for k, axis in enumerate(self.axes):
            if axis != 0 or t.dim() == 1:
                row = _axis_dot(t, t, axis)
            else:
                row = torch.linalg.vector_norm(t.flatten(1), dim=1).square_()
            self._add(sums, k, row)


def _consecutive(owner: Tensor) -> slice | None:
    """The slice of players that ``owner`` is, when it is one."""
    flat = owner.flatten()
    if flat.numel() == 0 or int(flat[0]) < 0:
        return None
    start = int(flat[0])
    same = bool((flat == torch.arange(start, start + flat.numel(), device=flat.device)).all())
    return slice(start, start + flat.numel()) if same else None


def _axis_dot(left: Tensor, right: Tensor, axis: int | None) -> Tensor:
    if axis is None:
        return (left * right).flatten()
    if left.dim() == 1:
        return left * right
    if axis == 0:
        return torch.linalg.vecdot(left.flatten(1), right.flatten(1))
    return (left * right).sum(dim=[a for a in range(left.dim()) if a != axis])
