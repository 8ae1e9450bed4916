"""Run a model once and let the operator rules read every ATen call.

The model is copied with fake parameters, so the run costs no arithmetic and no memory and the user's model
is not touched. Where the code branches on values that fakes do not have, the same run is made on real tensors.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree

from ..errors import StructureError
from .copying import call, copy_with, named_tensors, no_fastpath, tensors_in, uncollected
from .decisions import Looking
from .flow import Flow
from .ledger import OUTPUT, Ledger
from .reader import ORIGIN, Reader, label_of
from .recurrence import Whole
from .resizing import Watching


class Fakes(FakeTensorMode):
    """Fake tensors whose operators' shapes come from PyTorch's own kernels, which takes a fraction of the time."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)

    def cpp_meta_supports_symint(self, func: Any) -> bool:
        return True  # sizes here are plain integers, so no operator has to be taken apart for them


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A failure on fakes is an answer, or is told in our own words: torch's log says it a second time, at length."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


def fake(mode: FakeTensorMode, tensor: Tensor, device: torch.device | None = None) -> Tensor:
    """A fake of the same shape, strides, type and device, unless another is given."""
    try:
        # Not by an operator under the mode, which takes five times as long.
        meta = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        return FakeTensor(mode, meta, device or tensor.device)
    except Exception:
        return mode.from_tensor(tensor.detach())


def fake_inputs(mode: FakeTensorMode, inputs: Any) -> Any:
    return _pytree.tree_map(lambda v: fake(mode, v) if isinstance(v, Tensor) else v, inputs)


@contextlib.contextmanager
def random_kept(inputs: Any) -> Iterator[None]:
    """Random states are as before afterwards: torch's on every device in use, Python's and NumPy's.

    So the next run draws the same; in training, code may drop layers at random.
    """
    found = {t.device for t in tensors_in(inputs) if t.device.type == "cuda"}
    held = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state that others use
    try:
        with torch.random.fork_rng(devices=[d.index or 0 for d in found]):
            yield
    finally:
        random.setstate(held[0])
        np.random.set_state(held[1])  # noqa: NPY002


def read(model: nn.Module, inputs: Any, flow: bool = False) -> Ledger:
    """Trace the model on its inputs in evaluation mode.

    Args:
        flow: also record which value comes from which.

    Raises:
        StructureError: the model does not run on the example inputs.
    """
    return _read(model, inputs, lambda: Ledger(flow=Flow() if flow else None))


def reread(model: nn.Module, inputs: Any, before: Ledger, *, training: bool = False, fakes: bool = True) -> Ledger:
    """The ledger of one more run, in which the facts of those before are held.

    Args:
        fakes: try fake tensors first.

    Raises:
        StructureError: the model does not run on the inputs.
    """
    return _read(model, inputs, before.again, training, fakes)


def _read(
    model: nn.Module, inputs: Any, start: Callable[[], Ledger], training: bool = False, fakes: bool = True
) -> Ledger:
    try:
        if fakes:
            return _run(model, inputs, Fakes(), start(), training)
    except StructureError:
        raise
    except Exception:  # data-dependent Python, or an operator without a fake kernel
        pass
    try:
        return _run(model, inputs, None, start(), training)
    except StructureError:
        raise
    except Exception as error:
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors_in(inputs))
        raise StructureError(
            f"{type(model).__name__} does not run on the example inputs of shape {shapes}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _run(model: nn.Module, inputs: Any, mode: FakeTensorMode | None, ledger: Ledger, training: bool) -> Ledger:
    ledger.faked, ledger.inputs, ledger.training = mode is not None, inputs, training
    if mode is not None:
        with uncollected():
            follow(copy_with(model, lambda _, t: fake(mode, t)), fake_inputs(mode, inputs), mode, ledger)
    else:
        # In training, code may write to its parameters, too: averaged codebooks do.
        shared = () if training else nn.Parameter
        shadow = copy_with(model, lambda _, t: t.detach() if isinstance(t, shared) else t.detach().clone())
        inputs = _pytree.tree_map(lambda v: v.detach().clone() if isinstance(v, Tensor) else v, inputs)
        follow(shadow, inputs, mode, ledger)
    return ledger


def follow(shadow: nn.Module, inputs: Any, mode: FakeTensorMode | None, ledger: Ledger) -> None:
    """Run a copy under the reader, in the mode that ``ledger`` says, writing to it."""
    shadow.train() if ledger.training else shadow.eval()
    reader = Reader(ledger, shadow)
    for number, (name, tensor) in enumerate(named_tensors(shadow)):
        reader.remember(tensor, ledger.tensor(name, tensor.shape))
        setattr(tensor, ORIGIN, -1 - number)
        if number == len(ledger.tensors):
            ledger.tensors.append(name)
        if ledger.flow is not None:
            ledger.flow.tensors[name] = ledger.flow.value(tensor)
    for tensor in tensors_in(inputs):
        setattr(tensor, ORIGIN, 0)
    with contextlib.ExitStack() as stack:
        stack.enter_context(random_kept(inputs))
        stack.enter_context(no_fastpath())
        stack.enter_context(torch.no_grad())
        if mode is not None:
            stack.enter_context(_quiet())
            stack.enter_context(mode)
        stack.enter_context(reader.watching(shadow))
        stack.enter_context(reader)
        stack.enter_context(Whole(reader.whole))
        stack.enter_context(Watching(reader.sized))
        if reader.decisions is not None:
            stack.enter_context(Looking(reader.look))
        out = call(shadow, inputs)
    outputs = tensors_in(out)
    if ledger.flow is not None:
        ledger.flow.results = [ledger.flow.value(t) for t in outputs]
    ledger.outputs = [(tuple(t.shape), t.dtype) for t in outputs]
    origins = {getattr(t, ORIGIN, 0) for t in outputs}
    ledger.begin(OUTPUT, "", None, origins)
    for tensor in outputs:
        for block in label_of(tensor).blocks:
            ledger.freeze(block.ids, "the model's output")
    ledger.finish(origins)
