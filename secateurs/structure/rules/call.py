"""One operator call as the rules see it, and the alignment of operands that most of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..labels import Array, Block, Label, both, either, hush, louden, make_data
from ..ledger import Ledger, Partial, Product, Size, Split

Result = Label | None | Sequence[Label | None]
RULES: dict[str, Callable[["Call"], Result]] = {}


def register(*names: str) -> Callable[[Callable[["Call"], Result]], Callable[["Call"], Result]]:
    """Say which ATen operators (without overload; in-place forms are implied) a rule covers."""

    def note(rule: Callable[[Call], Result]) -> Callable[[Call], Result]:
        for name in names:
            RULES[name] = rule
        return rule

    return note


@lru_cache(maxsize=4096)
def argument_names(op: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((a.name, a.default_value if a.has_default_value() else None) for a in op._schema.arguments)


@dataclass
class Call:
    """An operator call: its arguments by name, its outputs, the module it ran in, and the ledger.

    Attributes:
        name: ATen name without overload and trailing underscore, such as ``add``.
        path: the innermost module running, in the model's own names.
        swapped: the module's code is replaced when it is cut (nn.MultiheadAttention), so sizes that its
            code writes down do not bind.
    """

    ledger: Ledger
    name: str
    arguments: dict[str, Any]
    out: Any
    path: str
    label_of: Callable[[Any], Label]
    swapped: bool = False
    module: torch.nn.Module | None = None

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    def label(self, name: str) -> Label | None:
        """Label of a tensor argument, None when it is absent or not a tensor."""
        value = self.arguments.get(name)
        return self.label_of(value) if isinstance(value, torch.Tensor) else None

    @property
    def tensors(self) -> list[Label]:
        """Labels of all direct tensor arguments, in order."""
        return [self.label_of(v) for v in self.arguments.values() if isinstance(v, torch.Tensor)]

    @property
    def where(self) -> str:
        return f"'{self.path}'" if self.path else "the model"

    @property
    def of_weights(self) -> bool:
        """Whether this is computed from the model's own tensors alone, as standardised weights are."""
        return self.ledger.now in self.ledger.stored

    def shape(self, index: int | None = None) -> tuple[int, ...]:
        out = self.out if index is None else self.out[index]
        return tuple(out.shape)

    # -- facts ---------------------------------------------------------------------------------------
    def freeze(self, ids: Array, reason: str) -> None:
        self.ledger.freeze(ids, f"{reason} (in {self.where})")

    def written(self, ids: Array, reason: str) -> None:
        """The code gives sizes of parts of this axis: it stays, unless they are scaled."""
        self.ledger.written.append((self.path, ids, f"{reason} (in {self.where})"))

    def freeze_label(self, label: Label, reason: str) -> None:
        for block in label.blocks:
            self.freeze(block.ids, reason)

    def pin(self, block: Block, dim: int, reason: str) -> None:
        """The code fixes the size of one dimension of a block."""
        if len(block.dims) == 1:
            self.freeze(block.ids, reason)
        else:
            axis = block.dims.index(dim)
            self.ledger.partials.append(Partial(block.ids, (axis,), None, f"{reason} (in {self.where})"))

    def size(self, role: str, ids: Array, value: int | None = None) -> None:
        ids = ids.ravel() if role == "flat" else period(ids.ravel())
        self.ledger.sizes.append(Size(self.path, role, ids.size if value is None else value, ids))

    def split(self, ids: Array) -> None:
        if not self.swapped:
            self.ledger.splits.append(Split(ids, self.path))

    def product(self, coefficient: float, axes: Sequence[Array]) -> None:
        self.ledger.products.append(Product(float(coefficient), tuple(a.ravel() for a in axes)))

    def tie_part(self, block: Block, dims: Sequence[int], head: bool = False) -> Array:
        """Part of a joint block is summed or normalised over: what remains lives or dies whole.

        Returns the ids over the remaining dimensions; ``head`` says that these are attention heads.
        """
        ids = self.ledger.tie(block.ids, [block.dims.index(d) for d in dims])
        if head:
            self.ledger.heads.append(ids)
        return ids

    def passing(self, label: Label, dims: Sequence[int], reason: str, keep: bool = False) -> Label:
        """Only ``dims`` can be cut here: blocks elsewhere freeze, joint ones are cut along ``dims`` only.

        Those that freeze are dropped, unless ``keep``: then what they meet later freezes for the same reason.
        """
        blocks = []
        for block in label.blocks:
            outside = [d for d in block.dims if d not in dims]
            if not outside:
                blocks.append(block)
            elif len(outside) == len(block.dims):
                self.freeze(block.ids, reason)
                if keep:
                    blocks.append(block)
            else:
                kept = tuple(d for d in block.dims if d in dims)
                blocks.append(Block(kept, make_data(self.tie_part(block, outside), loud=True)))
        free = frozenset(d for d in label.free if d in dims)
        return Label(label.shape, tuple(blocks), free, label.zero)

    def forbid(self, label: Label) -> None:
        """Zeroing what silences this would divide by zero: its silencers must not be used."""
        for block in label.blocks:
            if len(block.data) > 2:
                self.ledger.forbidden.append(block.data[2:][:, block.data[1] == 0])

    # -- alignment -----------------------------------------------------------------------------------
    def align(
        self,
        operands: Sequence[Label | None],
        shape: Sequence[int],
        mode: str = "all",
        over: Sequence[int] | None = None,
    ) -> Label:
        """Broadcast operands to ``shape``, uniting what meets.

        Args:
            mode: silence of the result: "all" operands silent (sum), "any" (product), "never".
            over: which operands ``mode`` speaks of; all by default.
        """
        labels = [o for o in operands if o is not None]
        over = range(len(operands)) if over is None else over
        speaking = [o for i, o in enumerate(operands) if i in over and o is not None]
        shifted = {id(o): _shift(o, shape) for o in labels}
        blocks: list[Block] = []
        for dims in _components([b.dims for s in shifted.values() for b in s.blocks]):
            block = self._meet(dims, labels, speaking, shifted, shape, mode)
            if block is not None:
                blocks.append(block)
        free = frozenset(
            d
            for d in range(len(shape))
            if all(s.shape[d] == 1 or d in s.free for s in shifted.values()) and shape[d] > 1
        )
        zeros = [o.zero for o in speaking]
        zero = bool(zeros) and (all(zeros) if mode == "all" else any(zeros) if mode == "any" else False)
        made = {d: n for s in shifted.values() for d, n in s.made.items() if d in free}
        return Label(tuple(shape), tuple(blocks), free, zero, made)

    def _meet(
        self,
        dims: tuple[int, ...],
        labels: list[Label],
        speaking: list[Label],
        shifted: dict[int, Label],
        shape: Sequence[int],
        mode: str,
    ) -> Block | None:
        found = [(o, b) for o in labels for b in shifted[id(o)].blocks if set(b.dims) <= set(dims)]
        whole = [(o, b) for o, b in found if b.dims == dims]
        if not whole:
            for _, block in found:
                self.freeze(block.ids, "axes that overlap only in part meet here")
            return None
        main = whole[0][1]
        for _, block in whole[1:]:
            self.ledger.unite(main.ids, block.ids)
        for _, block in found:
            if block.dims != dims:
                axes = tuple(dims.index(d) for d in block.dims)
                reason = f"meets an axis of which only a part is prunable (in {self.where})"
                self.ledger.partials.append(Partial(main.ids, axes, block.ids, reason))
        fixed = False
        for operand in labels:
            view = shifted[id(operand)]
            covered = {d for b in view.blocks for d in b.dims} | view.free
            for d in (d for d in dims if view.shape[d] == shape[d] and d not in covered):
                self.pin(main, d, "meets a tensor whose size is set by the input or the code")
                fixed = len(dims) == 1
            if main.dims[0] in view.made and len(dims) == 1:
                self.ledger.meets(view.made[main.dims[0]], main.ids)
        if fixed:
            return None  # one more size that is set elsewhere
        by_operand = {id(o): b for o, b in whole}
        return Block(dims, _silence(main.data, by_operand, speaking, mode))


def period(ids: Array) -> Array:
    """The part that repeats: heads folded into the batch count once."""
    for period in np.flatnonzero(ids == ids[0])[1:64]:
        if ids.size % period == 0 and (ids.reshape(-1, period) == ids[:period]).all():
            return ids[:period]
    return ids


def _silence(main: Array, by_operand: dict[int, Block], speaking: list[Label], mode: str) -> Array:
    if mode == "never" or not speaking:
        return louden(main)
    datas = []
    for operand in speaking:
        block = by_operand.get(id(operand))
        if operand.zero:
            datas.append(hush(main))
        elif block is not None:
            datas.append(block.data)
        elif mode == "all":
            return louden(main)
    if not datas:
        return louden(main)
    data = both(datas) if mode == "all" else either(datas)
    return np.concatenate([main[:1], data[1:]])


def _shift(label: Label, shape: Sequence[int]) -> Label:
    offset = len(shape) - len(label.shape)
    if offset == 0:
        return label
    where = {d: d + offset for d in range(len(label.shape))}
    return label.renumber((1,) * offset + label.shape, where)


def _components(groups: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Connected components of dimension tuples that overlap."""
    parts: list[set[int]] = []
    for group in groups:
        joined = set(group)
        for part in [p for p in parts if p & joined]:
            joined |= part
            parts.remove(part)
        parts.append(joined)
    return [tuple(sorted(p)) for p in parts]
