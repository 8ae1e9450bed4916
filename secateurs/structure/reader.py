"""What sees every operator of a run: a dispatch mode that hands each to its rule, and keeps labels on tensors.

Below Python every operator passes here with its shapes, whatever code issued it. Labels and origins lie on the tensors
themselves, so they follow them wherever the code carries them.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from .decisions import looks
from .explicit import Count, Request
from .labels import Label
from .ledger import Asked, Ledger
from .recurrence import Run
from .rules import RULES, Call
from .rules.call import argument_names
from .rules.joining import filled, part_of

LABEL = "_secateurs_label"
ORIGIN = "_secateurs_origin"
CONSTANT = -(2**31)  # origin of a tensor that neither the model nor its input holds
INERT = {"aten::sym_size", "aten::sym_stride", "aten::sym_numel", "aten::sym_storage_offset", "prim::device"}
SWAPPED = (nn.MultiheadAttention,)
FEW = 64  # numbers; a longer tensor that the code writes down is a table


def _grouped_mm(rows: Tensor, stack: Tensor, *rest: Any, out_dtype: Any = None, **named: Any) -> Tensor:
    if (rows.dim(), stack.dim()) != (2, 3):
        return torch.ops.aten._grouped_mm(rows, stack, *rest, out_dtype=out_dtype, **named)
    return rows.new_empty(*rows.shape[:-1], stack.shape[-1], dtype=out_dtype)


# Operators whose fake kernel refuses types that the real one takes.
FAKED = {"aten::_grouped_mm": _grouped_mm}


def label_of(tensor: Tensor) -> Label:
    label = getattr(tensor, LABEL, None)
    shape = tuple(tensor.shape)
    return label if label is not None and label.shape == shape else Label(shape)


@lru_cache(maxsize=4096)
def _numeric(func: Any) -> tuple[str, ...]:
    """Arguments that may be numbers to compute with: no sizes, no dimensions."""
    types = ("number", "float", "Optional[number]", "Optional[float]", "Tensor")
    return tuple(a.name for a in func._schema.arguments if str(a.type) in types)


def numbers_of(func: Any, arguments: dict[str, Any]) -> tuple[str, ...]:
    """Numbers that an operator computes with, also where the code made a small tensor of them."""
    found: list[Any] = []
    for name in _numeric(func):
        value = arguments[name]
        if isinstance(value, (int, float)):
            found.append(value)
        elif func is torch.ops.aten.lift_fresh.default and not isinstance(value, FakeTensor) and value.numel() <= FEW:
            with _disable_current_modes():
                found += value.flatten().tolist()
    return tuple(map(repr, found))


def _nodes_of(tensor: Tensor) -> list[Any]:
    return [block.ids for block in label_of(tensor).blocks]


class Reader(TorchDispatchMode):
    """Applies the rules to every operator that runs."""

    def __init__(self, ledger: Ledger, root: nn.Module) -> None:
        super().__init__()
        self.ledger = ledger
        self.stack: list[tuple[str, nn.Module]] = [("", root)]
        self.decisions = None if ledger.faked else ledger.decisions  # fakes have no values to look at
        self._calls = [Count()]  # with explicit sizes, of each running module
        self._aliases: dict[int, list[weakref.ref[Tensor]]] = {}
        self._muted = False

    def remember(self, tensor: Tensor, label: Label | None) -> None:
        setattr(tensor, ORIGIN, self.ledger.now)
        if self.ledger.flow is not None:
            self.ledger.flow.renew(tensor)
        if label is not None and label.shape == tuple(tensor.shape):
            setattr(tensor, LABEL, label)
        with contextlib.suppress(Exception):  # sparse and other storage-free tensors
            # Storage identity: views keep it, under fakes as well.
            self._aliases.setdefault(tensor.untyped_storage()._cdata, []).append(weakref.ref(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        faked = FAKED.get(func._schema.name, func) if isinstance(args and args[0], FakeTensor) else func
        out = faked(*args, **kwargs)
        if self._muted or func._schema.name in INERT:
            return out
        inputs = [a for a in _pytree.arg_tree_leaves(*args, **kwargs) if isinstance(a, Tensor)]
        self._begin(func, inputs)
        if func._schema.is_mutable:
            self._mutate(func, args, kwargs, inputs, out)
        else:
            self._apply(func, args, kwargs, inputs, out)
        if self.decisions is not None and looks(func, inputs):
            self.decisions.look({getattr(t, ORIGIN, CONSTANT) for t in inputs})
        return out

    def look(self, tensor: Tensor) -> None:
        """Python takes a tensor's values."""
        if self.decisions is not None:
            self.decisions.look({getattr(tensor, ORIGIN, CONSTANT)})

    def whole(self, func: Any, args: Any, kwargs: Any, run: Run) -> Any:
        """Run something as if it were the one operator ``func``, whatever it is made of."""
        self._muted = True
        try:
            out = run(*args, **kwargs)
        finally:
            self._muted = False
        inputs = [a for a in _pytree.arg_tree_leaves(*args, **kwargs) if isinstance(a, Tensor)]
        self._begin(func, inputs)
        self._apply(func, args, kwargs, inputs, out)
        return out

    def sized(self, request: Request, out: Any) -> None:
        """Note which sizes in the running module's code count what."""
        call = [count(request.form) for count in self._calls][-1]
        if any(isinstance(module, SWAPPED) for _, module in self.stack):
            return
        for position, (tensor, dim, part) in request.places(out):
            block = label_of(tensor).at(dim)
            if block is not None:
                ids = np.moveaxis(block.ids, block.dims.index(dim), 0)[part]
                rows = ids.reshape(len(ids), -1)
                self.ledger.asked.append(Asked(self.stack[-1][0], call, position, rows))

    def _begin(self, func: Any, inputs: list[Tensor]) -> None:
        path, module = self.stack[-1]
        self.ledger.begin(func._schema.name, path, type(module), {getattr(t, ORIGIN, CONSTANT) for t in inputs})

    def _call(self, func: Any, args: Any, kwargs: Any, out: Any) -> Call:
        names = argument_names(func)
        arguments = {n: (args[i] if i < len(args) else kwargs.get(n, d)) for i, (n, d) in enumerate(names)}
        path, module = self.stack[-1]
        name = func._schema.name.split("::")[1]
        if func._schema.is_mutable and name.endswith("_") and not name.endswith("__"):
            name = name[:-1]
        swapped = any(isinstance(m, SWAPPED) for _, m in self.stack)
        return Call(self.ledger, name, arguments, out, path, label_of, swapped, module)

    def _apply(self, func: Any, args: Any, kwargs: Any, inputs: list[Tensor], out: Any) -> None:
        self.ledger.called(func, args, kwargs, self.stack[-1][0], label_of)
        call_ = self._call(func, args, kwargs, out)
        flow = self.ledger.flow
        read = flow.read(inputs, label_of) if flow is not None else ()
        rule = RULES.get(call_.name) if func.namespace == "aten" else None
        if rule is None:
            labels: Any = None
            self._unknown(call_, func, inputs)
        else:
            before = len(self.ledger.unions), len(self.ledger.freezes)
            try:
                labels = rule(call_)
            except Exception as error:  # a rule's own limits freeze, they never raise at the user
                del self.ledger.unions[before[0] :], self.ledger.freezes[before[1] :]
                labels = None
                self._unknown(call_, func, inputs, f": {type(error).__name__} {error}")
        outputs = list(out) if isinstance(out, (tuple, list)) else [out]
        labels = list(labels) if isinstance(labels, (tuple, list)) else [labels]
        self.ledger.results[self.ledger.now] = labels
        if not call_.swapped:
            self.ledger.history.append((call_.name, labels))
            self.ledger.numbers.append(numbers_of(func, call_.arguments))
        for tensor, label in zip(outputs, labels + [None] * len(outputs)):
            if isinstance(tensor, Tensor):
                self.remember(tensor, label)
        if flow is not None:
            flow.step(call_, read, outputs, written=func._schema.is_mutable)

    def _unknown(self, call_: Call, func: Any, inputs: list[Tensor], detail: str = "") -> None:
        for tensor in inputs:
            if label_of(tensor).blocks:
                self.ledger.unknown.setdefault(str(func), call_.path + detail)
                call_.freeze_label(label_of(tensor), f"no rule for the operator {func._schema.name}{detail}")

    def _mutate(self, func: Any, args: Any, kwargs: Any, inputs: list[Tensor], out: Any) -> None:
        """In-place operators: relabel the target; views of it elsewhere can no longer be trusted."""
        targets = self._targets(func, args, kwargs)
        old = {id(t): label_of(t) for t in targets}
        name = func._schema.name.split("::")[1]
        if len(targets) != 1 or not name.endswith("_"):
            rule_name = name
            if rule_name in RULES and isinstance(out, (tuple, list)):
                self._apply(func, args, kwargs, inputs, out)  # batch norm in training form and its kin
            else:
                call_ = self._call(func, args, kwargs, out)
                self._unknown(call_, func, inputs)
                if self.ledger.flow is not None:
                    self.ledger.flow.step(call_, self.ledger.flow.read(inputs, label_of), (), written=True)
                    self.ledger.flow.touch(targets)
            return
        target = targets[0]
        self._apply(func, args, kwargs, inputs, target)
        self._distrust(self._call(func, args, kwargs, target), target, old[id(target)])

    def _targets(self, func: Any, args: Any, kwargs: Any) -> list[Tensor]:
        found = []
        for index, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[index] if index < len(args) else kwargs.get(argument.name)
                found += [v for v in _pytree.tree_leaves(value) if isinstance(v, Tensor)]
        return found

    def _distrust(self, call_: Call, target: Tensor, old: Label) -> None:
        new = label_of(target)
        try:
            key = target.untyped_storage()._cdata
        except Exception:
            return
        others = [t for r in self._aliases.get(key, []) if (t := r()) is not None and t is not target]
        for other in others:
            # Whoever reads a view later depends on this write and on what was there before.
            self.ledger.inputs_of[-1].add(getattr(other, ORIGIN, 0))
            setattr(other, ORIGIN, self.ledger.now)
        if self.ledger.flow is not None:
            self.ledger.flow.touch(others)
        if not others:
            return
        reason = f"written in place through a view (in '{self.stack[-1][0]}')"
        same = len(old.blocks) == len(new.blocks) and all(
            a.dims == b.dims and a.data.shape == b.data.shape and (a.data == b.data).all()
            for a, b in zip(old.blocks, new.blocks)
        )
        for other in others:
            label = label_of(other)
            if not same and (dim := part_of(target, other)) is not None:
                setattr(other, LABEL, filled(call_, label, new, dim))
                continue
            if not same and label.shape != new.shape:
                for block in (*new.blocks, *old.blocks, *label.blocks):
                    self.ledger.freeze(block.ids, reason)
            setattr(other, LABEL, new if label.shape == new.shape else Label(label.shape, label.blocks))

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Keep the stack of running modules through hooks on (a copy of) the model."""
        names = {id(m): n for n, m in model.named_modules()}
        flow, products, decisions = self.ledger.flow, self.ledger.products, self.decisions

        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.stack.append((names.get(id(module), ""), module))
            self._calls.append(Count())
            if flow is not None:
                flow.enter(*self.stack[-1], args, kwargs, len(products))
            if decisions is not None:
                decisions.enter(*self.stack[-1], (args, kwargs), self.ledger.now, _nodes_of)

        def leave(module: nn.Module, _: Any, out: Any) -> None:
            if len(self.stack) > 1:
                self.stack.pop()
                self._calls.pop()
                if flow is not None:
                    flow.leave(out, len(products))
                if decisions is not None:
                    decisions.leave(out, self.ledger.now)

        handles = []
        for module in model.modules():
            handles.append(module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True))
            handles.append(module.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
