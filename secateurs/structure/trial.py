"""A trial cut on fake tensors: does the user's code run at other sizes?

Rules cannot see whether a size in a reshape or a slice was read from a shape, from an attribute, or written
into the code. Removing one atom of each family and running the forward again, without arithmetic, tells.
Families that fail are searched by bisection; for a joint axis the other way to cut it is tried, and
otherwise the family is fixed with that reason.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from .copying import call, copy_with, no_fastpath, tensors_in
from .surgery import Surgery, plan, refit
from .tracing import fake, fake_inputs, random_kept
from .types import Structure

FIXED_BY_CODE = "the model's code fixes this size: it does not run with one group fewer"


def runs(model: nn.Module, structure: Structure, families: list[int], inputs: Any, shapes: list[Any] | None) -> bool:
    """Does the model run, with outputs of unchanged shape, once each family lost an atom?"""
    keep = np.ones(structure.atoms, dtype=bool)
    for index in families:
        keep[structure.families[index].atoms[-1]] = False
    try:
        surgery = plan(model, structure, keep)
        return fake_shapes(model, surgery, inputs) == shapes
    except Exception:
        return False


def fake_shapes(model: nn.Module, surgery: Surgery, inputs: Any) -> list[Any]:
    """Shapes of all outputs of the cut network, without computing them."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def part(name: str, tensor: Tensor) -> Tensor:
        kept = surgery.kept.get(name)
        if kept is None:
            return fake(mode, tensor)
        shape = [len(kept[a]) if a in kept else s for a, s in enumerate(tensor.shape)]
        with mode:
            return torch.empty(shape, dtype=tensor.dtype, device=tensor.device)

    copy = copy_with(model, part)
    refit(copy, surgery)
    copy.eval()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(random_kept(inputs))
        stack.enter_context(no_fastpath())
        stack.enter_context(torch.no_grad())
        stack.enter_context(mode)
        return [(tuple(t.shape), t.dtype) for t in tensors_in(call(copy, fake_inputs(mode, inputs)))]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A failing trial is an answer, not an error to log."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled


def failing(model: nn.Module, structure: Structure, inputs: Any, seconds: float) -> list[int]:
    """Families whose loss of an atom the code does not survive; all untested ones once time is up."""
    try:
        shapes = fake_shapes(model, Surgery(), inputs)
    except Exception:
        return []  # fakes do not run this model at all; the oracle decides on real tensors
    deadline = time.monotonic() + seconds

    def search(families: list[int]) -> list[int]:
        if not families or runs(model, structure, families, inputs, shapes):
            return []
        if len(families) == 1 or time.monotonic() > deadline:
            return families
        half = len(families) // 2
        return search(families[:half]) + search(families[half:])

    return search(list(range(len(structure.families))))
