"""Recoveries as they are asked for: some by name, one after the other, or whatever recovers validation first.

A chain is carried out whatever it gives; the ladder ("auto") keeps the best network and stops as soon as validation has
recovered. Runs and loops of one's own ask alike: :func:`recover` is the same in one call.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import DataError, RunError, StructureError, unknown
from ..structure import Surgery
from ..structure.copying import aliases, named_tensors
from ..training import Held, evaluate
from ..zoo.splits import Batch
from .base import Entries, Removal, again
from .ladder import Judge, Rung, Tried, climb
from .registry import LADDER, RECOVERIES

AUTO = "auto"


@dataclass(frozen=True)
class Recovered:
    """A repaired network and how it came about.

    Attributes:
        model: of the same modules and shapes as the network after the cut.
        tried: what each step gave, the network after the cut first; empty where nothing judged.
        target: the value at which it counts as recovered; None where nothing judged.
    """

    model: nn.Module
    tried: list[Tried]
    target: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the network is as good as the target says."""
        return self.target is not None and max(t.value for t in self.tried if t.kept) >= self.target


def asked(how: str | Iterable[str]) -> tuple[str, ...]:
    """The names of recoveries in a row, from one text with commas or several; ``("auto",)`` for the ladder.

    Raises:
        UnknownNameError: no recovery has that name; the nearest are suggested.
        RunError: "auto" beside others.
    """
    texts = [how] if isinstance(how, str) else list(how)
    names = tuple(name.strip() for text in texts for name in text.split(",") if name.strip())
    for name in names:
        if name not in RECOVERIES and name != AUTO:
            raise unknown("recovery", name, [*RECOVERIES, AUTO])
    if AUTO in names and len(names) > 1:
        raise RunError(f"recovery {','.join(names)}: 'auto' tries them by itself; give it alone, or names without it")
    return names


def carry_out(
    names: Sequence[str],
    model: nn.Module,
    removal: Removal,
    data: Iterable[Batch],
    judge: Judge | None,
    target: float = float("inf"),
    rungs: Sequence[Rung] = (),
) -> tuple[nn.Module, list[Tried]]:
    """What :func:`asked` gave, carried out on a network after its cut. The networks that are given stay as they are.

    Args:
        judge: for the ladder, which needs one; a chain is judged before and after where there is one.
        target, rungs: of the ladder.
    """
    if list(names) == [AUTO]:
        assert judge is not None
        return climb(model, removal, data, judge, target, rungs)
    chain = Rung(tuple(RECOVERIES[name]() for name in names))
    tried = [Tried("none", judge(model), 0.0, False)] if judge else []
    start = time.perf_counter()
    found = chain(model, removal, data)
    seconds = time.perf_counter() - start
    return found, [*tried, Tried(chain.name, judge(found), seconds, True)] if judge else []


def recover(
    model: nn.Module,
    *,
    before: nn.Module,
    data: Iterable[Batch],
    surgery: Surgery | None = None,
    masks: Entries | None = None,
    how: str | Iterable[str] = AUTO,
    validation: Iterable[Batch] | Judge | None = None,
    tolerance: float = 0.005,
) -> Recovered:
    """Repair a network that was cut in a loop of one's own.

    Args:
        model: after the cut. It stays as it is.
        before: the network just before the cut. It is only read.
        data: calibration batches (inputs, labels) of training data; some hundred examples. Read more than once.
        surgery: of this cut, as :func:`secateurs.shrink` and ``harvest`` record it; None where the shapes stay.
        masks: by parameter name, True where an entry stays: where single weights were set to zero, they stay zero.
        how: "auto", or names of recoveries, carried out one after the other.
        validation: batches on which networks are judged by their accuracy, or a function from a network to how good it
            is, higher = better. "auto" needs it.
        tolerance: how far below ``before``'s value it counts as recovered.
    Raises:
        UnknownNameError: no recovery has that name.
        StructureError: the surgery or the masks are not of this cut.
        DataError: "auto" without validation, no batch, or an iterator, which could be read only once.
    """
    names = asked(how)
    if names == (AUTO,) and validation is None:
        raise DataError(
            "recovery 'auto' tries one repair after the other until validation has recovered, and there is none; give "
            "validation=, batches that are not among the data, or name the recoveries"
        )
    _require_same(model, before, surgery, masks or {})
    judge = _judge(validation)
    target = judge(before) - tolerance if judge else None
    goal = float("inf") if target is None else target
    found, tried = carry_out(names, model, Removal(before, surgery, masks), again(data), judge, goal, LADDER)
    return Recovered(found, tried, target)


def _judge(validation: Iterable[Batch] | Judge | None) -> Judge | None:
    if validation is None or callable(validation):
        return validation
    held = Held(again(validation))
    return lambda model: evaluate(model, held).accuracy


def _require_same(model: nn.Module, before: nn.Module, surgery: Surgery | None, masks: Entries) -> None:
    """That the surgery leads from the shapes of the network before to those of the one after, and masks fit these."""
    surgery = surgery or Surgery()
    held, first = dict(named_tensors(before)), aliases(before)
    for name, shape in surgery.shapes.items():
        if name in held and list(held[name].shape) != shape:
            raise StructureError(
                f"the surgery cuts {name!r} of shape {tuple(shape)}, and in the network before it has shape "
                f"{tuple(held[name].shape)}; where groups had left earlier, give what was cut since then: "
                "surgery.since(the earlier one)"
            )
    own = dict(model.named_parameters())
    for name, parameter in own.items():
        was = _left(held, surgery, first.get(name, name))
        if was != tuple(parameter.shape):
            there = "is none in the network before" if was is None else f"this cut leaves {was} of the network before"
            raise StructureError(
                f"{name!r} has shape {tuple(parameter.shape)}, and {there}; give before= the network just before the "
                "cut, and surgery= of this very cut (shrink(…).surgery, optimizer.harvested)"
            )
    for name, mask in masks.items():
        if name not in own or own[name].shape != mask.shape:
            has = f"one of shape {tuple(own[name].shape)}" if name in own else "no such parameter"
            raise StructureError(f"masks[{name!r}] has shape {tuple(mask.shape)}, and the network has {has}")


def _left(held: Mapping[str, Tensor], surgery: Surgery, name: str) -> tuple[int, ...] | None:
    """The shape that a tensor has after the cut; None where there is no such tensor."""
    if name not in held:
        return None
    kept = surgery.kept.get(name, {})
    return tuple(len(kept[axis]) if axis in kept else size for axis, size in enumerate(held[name].shape))
