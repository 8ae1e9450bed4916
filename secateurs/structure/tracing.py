"""Run a model once and let the operator rules read every ATen call.

The model is copied with fake parameters, so the run costs no arithmetic and no memory and the user's model
is not touched. A dispatch mode sees each operator below Python, whatever code issued it. Where the code
branches on values that fakes do not have, the same run is made on real tensors.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import StructureError
from .copying import call, copy_with, named_tensors, no_fastpath, tensors_in
from .labels import Label
from .ledger import Ledger
from .rules import RULES, Call
from .rules.call import argument_names

LABEL = "_secateurs_label"
ORIGIN = "_secateurs_origin"
INERT = {"aten::sym_size", "aten::sym_stride", "aten::sym_numel", "aten::sym_storage_offset", "prim::device"}
SWAPPED = (nn.MultiheadAttention,)


def label_of(tensor: Tensor) -> Label:
    label = getattr(tensor, LABEL, None)
    shape = tuple(tensor.shape)
    return label if label is not None and label.shape == shape else Label(shape)


class Reader(TorchDispatchMode):
    """Applies the rules to every operator that runs."""

    def __init__(self, ledger: Ledger, root: nn.Module) -> None:
        super().__init__()
        self.ledger = ledger
        self.stack: list[tuple[str, nn.Module]] = [("", root)]
        self._aliases: dict[int, list[weakref.ref[Tensor]]] = {}

    def remember(self, tensor: Tensor, label: Label | None) -> None:
        setattr(tensor, ORIGIN, self.ledger.now)
        if label is not None and label.shape == tuple(tensor.shape):
            setattr(tensor, LABEL, label)
        with contextlib.suppress(Exception):  # sparse and other storage-free tensors
            # Storage identity: views keep it, under fakes as well.
            self._aliases.setdefault(tensor.untyped_storage()._cdata, []).append(weakref.ref(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func._schema.name in INERT:
            return out
        inputs = [a for a in _pytree.arg_tree_leaves(*args, **kwargs) if isinstance(a, Tensor)]
        self.ledger.inputs_of.append({getattr(t, ORIGIN, 0) for t in inputs})
        if func._schema.is_mutable:
            self._mutate(func, args, kwargs, inputs, out)
        else:
            self._apply(func, args, kwargs, inputs, out)
        return out

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
        call_ = self._call(func, args, kwargs, out)
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
        if not call_.swapped:
            self.ledger.history.append((call_.name, labels))
        for tensor, label in zip(outputs, labels + [None] * len(outputs)):
            if isinstance(tensor, Tensor):
                self.remember(tensor, label)

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
                self._unknown(self._call(func, args, kwargs, out), func, inputs)
            return
        target = targets[0]
        self._apply(func, args, kwargs, inputs, target)
        self._distrust(target, old[id(target)], label_of(target))

    def _targets(self, func: Any, args: Any, kwargs: Any) -> list[Tensor]:
        found = []
        for index, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[index] if index < len(args) else kwargs.get(argument.name)
                found += [v for v in _pytree.tree_leaves(value) if isinstance(v, Tensor)]
        return found

    def _distrust(self, target: Tensor, old: Label, new: Label) -> None:
        try:
            key = target.untyped_storage()._cdata
        except Exception:
            return
        others = [t for r in self._aliases.get(key, []) if (t := r()) is not None and t is not target]
        for other in others:
            # Whoever reads a view later depends on this write and on what was there before.
            self.ledger.inputs_of[-1].add(getattr(other, ORIGIN, 0))
            setattr(other, ORIGIN, self.ledger.now)
        if not others:
            return
        reason = f"written in place through a view (in '{self.stack[-1][0]}')"
        same = len(old.blocks) == len(new.blocks) and all(
            a.dims == b.dims and a.data.shape == b.data.shape and (a.data == b.data).all()
            for a, b in zip(old.blocks, new.blocks)
        )
        for other in others:
            label = label_of(other)
            if not same and label.shape != new.shape:
                for block in (*new.blocks, *old.blocks, *label.blocks):
                    self.ledger.freeze(block.ids, reason)
            setattr(other, LABEL, new if label.shape == new.shape else Label(label.shape, label.blocks))

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Keep the stack of running modules through hooks on (a copy of) the model."""
        names = {id(m): n for n, m in model.named_modules()}

        def enter(module: nn.Module, _: Any) -> None:
            self.stack.append((names.get(id(module), ""), module))

        def leave(module: nn.Module, _: Any, __: Any) -> None:
            if len(self.stack) > 1:
                self.stack.pop()

        handles = []
        for module in model.modules():
            handles.append(module.register_forward_pre_hook(enter, prepend=True))
            handles.append(module.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def fake(mode: FakeTensorMode, tensor: Tensor) -> Tensor:
    """A fake of the same shape, strides, type and device."""
    try:
        with mode:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    except Exception:
        return mode.from_tensor(tensor.detach())


def fake_inputs(mode: FakeTensorMode, inputs: Any) -> Any:
    return _pytree.tree_map(lambda v: fake(mode, v) if isinstance(v, Tensor) else v, inputs)


def random_kept(inputs: Any) -> Any:
    """Context: torch's random state is as before afterwards, on every device in use."""
    found = {t.device for t in tensors_in(inputs) if t.device.type == "cuda"}
    return torch.random.fork_rng(devices=[d.index or 0 for d in found])


def read(model: nn.Module, inputs: Any) -> Ledger:
    """Trace the model on its inputs.

    Raises:
        StructureError: the model does not run on the example inputs.
    """
    try:
        return _read(model, inputs, FakeTensorMode(allow_non_fake_inputs=True))
    except StructureError:
        raise
    except Exception:  # data-dependent Python, or an operator without a fake kernel
        pass
    try:
        return _read(model, inputs, None)
    except StructureError:
        raise
    except Exception as error:
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors_in(inputs))
        raise StructureError(
            f"{type(model).__name__} does not run on the example inputs of shape {shapes}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _read(model: nn.Module, inputs: Any, mode: FakeTensorMode | None) -> Ledger:
    if mode is None:
        shadow = copy_with(model, lambda _, t: t.detach() if isinstance(t, nn.Parameter) else t.detach().clone())
        inputs = _pytree.tree_map(lambda v: v.detach().clone() if isinstance(v, Tensor) else v, inputs)
    else:
        shadow = copy_with(model, lambda _, t: fake(mode, t))
        inputs = fake_inputs(mode, inputs)
    ledger = Ledger(faked=mode is not None)
    follow(shadow, inputs, mode, ledger)
    return ledger


def follow(shadow: nn.Module, inputs: Any, mode: FakeTensorMode | None, ledger: Ledger) -> None:
    """Run a copy under the reader, writing to ``ledger``."""
    shadow.eval()
    reader = Reader(ledger, shadow)
    for name, tensor in named_tensors(shadow):
        reader.remember(tensor, ledger.tensor(name, tensor.shape))
    with contextlib.ExitStack() as stack:
        stack.enter_context(random_kept(inputs))
        stack.enter_context(no_fastpath())
        stack.enter_context(torch.no_grad())
        if mode is not None:
            stack.enter_context(mode)
        stack.enter_context(reader.watching(shadow))
        stack.enter_context(reader)
        out = call(shadow, inputs)
    outputs = tensors_in(out)
    ledger.outputs = [(tuple(t.shape), t.dtype) for t in outputs]
    for tensor in outputs:
        for block in label_of(tensor).blocks:
            ledger.freeze(block.ids, "the model's output")
    ledger.finish({getattr(t, ORIGIN, 0) for t in outputs})
