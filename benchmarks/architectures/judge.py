"""The oracle that every side is held to: the cut network computes what the masked one does.

Fresh networks hide mistakes: norms are the identity, biases and layer scales are (nearly) zero, so a wrong
index in them changes nothing. Every such tensor is therefore made random first, and running statistics are
made to fit. Outputs are compared in float64, on inputs that the trace has not seen.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves, tree_map_only

from .models import Case

# Relative to the largest output. Models that normalise in float32 whatever they are given round at 1e-7.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3}
# A cut that moves the output by less than this could not show that it was made in the wrong place.
BLIND = 1e-3


class Judged(Exception):
    """A stage that fails; the message becomes the row's status."""


@torch.no_grad()
def randomise(model: nn.Module, inputs: Any) -> nn.Module:
    """Random values for whatever initialisation left constant, then running statistics that fit. In place."""
    for parameter in model.parameters():
        flat = parameter.flatten()
        if parameter.is_floating_point() and flat.numel() > 1 and bool((flat == flat[0]).all()):
            # A scale keeps its sign and size; what starts at zero, or as good as, gets a life of its own.
            scale = float(flat[0]) if abs(float(flat[0])) > 0.05 else 0.0
            parameter.copy_(torch.empty_like(parameter).uniform_(0.5, 1.5) * scale if scale else _small(parameter))
    for module in model.modules():
        if isinstance(module, (nn.Linear, _ConvNd)) and module.weight.std() * module.weight[0].numel() ** 0.5 < 0.1:
            # Heads that start near zero would leave nothing to see but their bias.
            module.weight.copy_(torch.randn_like(module.weight) / module.weight[0].numel() ** 0.5)
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over batches
    if norms:
        with contextlib.suppress(Exception):
            call(model.train(), inputs)
    for norm, momentum in zip(norms, kept):
        norm.momentum = momentum
        for buffer in (norm.running_mean, norm.running_var):
            if buffer is not None:
                buffer.mul_(torch.empty_like(buffer).uniform_(0.8, 1.2))
    return model.eval()


def _small(parameter: Tensor) -> Tensor:
    return torch.randn_like(parameter) * 0.3


def call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def tensors(value: Any) -> list[Tensor]:
    """All tensors of an output. A cache's are not: it is the model's own state, and loses heads with it."""
    found: list[Tensor] = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, dict):
            found += tensors(list(leaf.values()))
        elif dataclasses.is_dataclass(leaf):
            found += tensors([getattr(leaf, field.name) for field in dataclasses.fields(leaf)])
    return found


@torch.no_grad()
def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    """In eval mode, at a fixed seed; the inputs are not shared with the caller."""
    torch.manual_seed(0)
    given = tree_map_only(Tensor, torch.clone, inputs)
    return [t.detach().clone() for t in tensors(call(model.eval(), given))]


def widened(value: Any) -> Any:
    """A model or inputs in float64."""
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).double()
    return tree_map_only(Tensor, lambda t: t.double() if t.is_floating_point() else t, value)


def gap(expected: list[Tensor], found: list[Tensor]) -> float:
    """The largest difference relative to the largest value; infinite where shapes or NaNs differ."""
    if [t.shape for t in expected] != [t.shape for t in found]:
        return float("inf")
    worst = 0.0
    for a, b in zip(expected, found):
        if not a.is_floating_point() or not a.numel():
            continue  # orders and choices may flip on ties that rounding decides
        a, b = a.double(), b.double()
        finite = a.isfinite()
        if not torch.equal(finite, b.isfinite()):
            return float("inf")
        a, b = a[finite], b[finite]
        if a.numel():
            worst = max(worst, float((a - b).abs().max()) / max(float(a.abs().max()), 1e-12))
    return worst


def check_inputs(case: Case, batches: tuple[int, ...] = (2, 1, 3)) -> Iterator[tuple[str, Any]]:
    """Inputs that were not traced: the same batch with other values, other batches, other lengths."""
    for batch in batches:
        yield f"batch {batch}", case.inputs(batch, None)
    for length in case.lengths:
        yield f"length {length}", case.inputs(2, length)


@dataclass
class Verdict:
    """What the comparison of two networks found.

    Attributes:
        gap: the largest over all inputs, relative.
        dtype: in which it was found.
        effect: how far the cut moved the dense network's output; where this is small the check is blind.
        where: the inputs of the largest gap.
    """

    gap: float
    dtype: str
    effect: float
    where: str

    @property
    def same(self) -> bool:
        return self.gap <= TOLERANCE[getattr(torch, self.dtype)]


def compare(case: Case, dense: nn.Module, masked: nn.Module, cut: nn.Module) -> Verdict:
    """Hold ``cut`` against ``masked`` on inputs that neither was made with.

    Raises:
        Judged: the cut network does not run where the dense one does.
    """
    torch.manual_seed(7)
    given = list(check_inputs(case))
    wide, dtype = [widened(m) for m in (dense, masked, cut)], torch.float64
    try:
        outputs(wide[0], widened(given[0][1]))
    except Exception:  # code that writes float32 down
        wide, dtype = [dense, masked, cut], torch.float32
    worst, effect, where, ran = 0.0, 0.0, "", 0
    for name, inputs in given:
        inputs = widened(inputs) if dtype == torch.float64 else inputs
        try:
            before = outputs(wide[0], inputs)
        except Exception:  # not a batch that this architecture takes
            continue
        expected = outputs(wide[1], inputs)
        try:
            found = outputs(wide[2], inputs)
        except Exception as error:
            raise Judged(f"the cut network does not run on {name}: {type(error).__name__}: {error}") from error
        here = gap(expected, found)
        if here > worst or not where:
            worst, where = here, name
        effect, ran = max(effect, gap(expected, before)), ran + 1
    if not ran:
        raise Judged("the dense network runs on none of the inputs")
    return Verdict(worst, str(dtype).removeprefix("torch."), effect, where)


def trains(case: Case, model: nn.Module) -> float:
    """Forward and backward in train mode; the share of parameters with a gradient.

    Raises:
        Judged: it raises, or some gradient has another shape or is not finite.
    """
    torch.manual_seed(9)
    model = copy.deepcopy(model).train()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    found = [t for t in tensors(call(model, case.inputs(4, None))) if t.is_floating_point() and t.requires_grad]
    torch.stack([t.double().square().mean() for t in found]).sum().backward()
    reached = 0
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            reached += 1
            if parameter.grad.shape != parameter.shape:
                raise Judged(f"the gradient of {name} has another shape than it")
            if not bool(parameter.grad.isfinite().all()):
                raise Judged(f"the gradient of {name} is not finite")
    return reached / max(1, sum(1 for _ in model.parameters()))
