"""Milliseconds as a resource: what each operator of a network takes on this device at several widths.

Every operator of a forward pass is timed by itself at a grid of the widths that it depends on, and its time is taken to
be linear in between. Their sum at any widths, set against two whole networks that are timed, predicts a network's
latency without building it: like parameters and MACs, milliseconds become terms of the structure, which a market can
charge and a cut can count.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ..structure import Structure, shrink
from ..structure.calls import OperatorCall, calls
from ..structure.types import Cost, Table, Term
from .inputs import device_of
from .latency import latency
from .operators import Timing, Timings, cache_file, quietest

SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)  # of an axis, at which operators are timed
SCALES = (0.7, 2.0)  # how much slower operators may be in a network than alone; what lies outside is noise
DEEPEST = 2  # axes of one operator; those of one with more are taken to shrink together

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LatencyTable:
    """What the operators of a network take, and what whole networks do.

    Attributes:
        terms: milliseconds as a function of widths, for ``structure.terms["latency"]``.
        whole_ms: the dense network, and one cut to an eighth of all widths, as measured.
        operators_ms: the sums of their operators. Cold weights and Python make the difference: the terms are
            ``scale`` times the operators, and a constant, such that both whole networks are met.
        spread: quartiles of the dense network's operators, added up.
        timings: what was timed, by what was run: with ``whole_ms`` enough to make the same table again.
    """

    terms: list[Cost]
    whole_ms: tuple[float, float]
    operators_ms: tuple[float, float]
    scale: float
    spread: tuple[float, float]
    timings: dict[str, Timing]


def latency_table(
    model: nn.Module,
    structure: Structure,
    inputs: Any,
    *,
    threads: int = 1,
    timings: Timings | None = None,
    whole_ms: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> LatencyTable:
    """Time every operator of ``model(inputs)`` at several widths.

    Args:
        structure: of this model.
        inputs: one batch, of the size that latency is asked for.
        threads: for CPU operators.
        timings: what is known already; by default what a file keeps of this device, to which new timings are added.
        whole_ms: see :class:`LatencyTable`; measured unless given.
        progress: called with the number of operators done, and of all.
    """
    timings = timings or timings_of(model, threads)
    found = calls(model, structure, inputs)
    terms: list[Cost] = []
    total = np.zeros(3)
    for number, call in enumerate(found):
        timing = timings.of(call)
        if timing is not None:
            total += timing
            terms.append(_term(call, timings))
        if progress is not None:
            progress(number + 1, len(found))
    timings.save()
    keep = _slim(structure)
    alive = np.append(keep, True)
    slim = sum(term.amount([int(alive[ids].sum()) for ids in term.axes]) for term in terms)
    if whole_ms is None:
        small = shrink(model, structure, keep, check=False).model
        whole_ms = quiet_ms(model, inputs, threads), quiet_ms(small, inputs, threads)
    dense = float(total[0])
    scale, rest = _calibrated(whole_ms, (dense, slim))
    terms = _merged([*(_scaled(term, scale) for term in terms), Term(rest, ())])
    spread = float(total[1]), float(total[2])
    return LatencyTable(terms, whole_ms, (dense, slim), scale, spread, dict(timings.used))


def timings_of(model: nn.Module, threads: int = 1) -> Timings:
    """What is known of the device that a model is on."""
    device = device_of(model)
    return Timings(device, threads, cache_file(device, threads))


def quiet_ms(model: nn.Module, inputs: Any, threads: int = 1) -> float:
    """Median milliseconds of a batch, timed again while the machine is busy."""

    def timed() -> Timing:
        found = latency(model, inputs, threads=threads, seconds=5.0)
        return found.median_ms, found.q25_ms, found.q75_ms

    return quietest(timed)[0]


def _slim(structure: Structure) -> np.ndarray:
    """An eighth of each family; blocks stay."""
    keep = np.ones(structure.atoms, dtype=bool)
    for family in structure.families:
        if family.kind != "block":
            keep[family.atoms[max(family.minimum, math.ceil(SHARES[0] * len(family.atoms))) :]] = False
    return keep


def _calibrated(whole: tuple[float, float], operators: tuple[float, float]) -> tuple[float, float]:
    """Scale and constant with which both sums of operators give what the whole networks take.

    Where that would be an absurd scale, the large network was slowed by others, and the small one counts alone.
    """
    gap = operators[0] - operators[1]
    scale = (whole[0] - whole[1]) / gap if gap > 0.05 * operators[0] else 1.0
    scale = min(max(scale, SCALES[0]), SCALES[1])
    return scale, max(whole[1] - scale * operators[1], 0.0)


def _term(call: OperatorCall, timings: Timings) -> Cost:
    axes = [] if call.fixed else call.atoms
    timing = timings.of(call)
    assert timing is not None
    term: Cost = Term(timing[0], ())
    if axes:
        grid = tuple(_grid(len(atoms)) for atoms in axes)
        if len(axes) <= DEEPEST:
            term = Table(tuple(axes), grid, _values(call, axes, grid, timings, timing[0]))
        else:
            # All at once: the widest axis stands for them.
            widest = max(range(len(axes)), key=lambda d: len(axes[d]))
            shares = grid[widest] / len(axes[widest])
            points = [[round(share * len(atoms)) for atoms in axes] for share in shares]
            values = [_at(call, axes, point, timings) or timing[0] for point in points]
            term = Table((axes[widest],), (grid[widest],), np.maximum.accumulate(values))
    for atom in call.blocks:
        term = term.with_block(atom)
    return term


def _grid(size: int) -> np.ndarray:
    points = sorted({max(1, round(share * size)) for share in SHARES})
    return np.array(points if len(points) > 1 else [0, *points], dtype=float)


def _values(
    call: OperatorCall, axes: Sequence[np.ndarray], grid: Sequence[np.ndarray], timings: Timings, dense: float
) -> np.ndarray:
    """Milliseconds over the grid, never falling with a width: what noise says otherwise is not believed."""
    values = np.empty([len(points) for points in grid])
    for place in itertools.product(*map(range, values.shape)):
        widths = [int(points[i]) for points, i in zip(grid, place)]
        taken = _at(call, axes, widths, timings)
        values[place] = dense if taken is None else taken
    for d in range(values.ndim):
        values = np.maximum.accumulate(values, axis=d)
    return values


def _at(call: OperatorCall, axes: Sequence[np.ndarray], widths: Sequence[int], timings: Timings) -> float | None:
    timing = timings.of(call, {atoms.tobytes(): max(width, 1) for atoms, width in zip(axes, widths)})
    return None if timing is None else timing[0]


def _scaled(term: Cost, factor: float) -> Cost:
    if isinstance(term, Term):
        return Term(factor * term.coefficient, term.axes)
    return Table(term.axes, term.grid, factor * term.values)


def _merged(terms: Sequence[Cost]) -> list[Cost]:
    """One table for all operators that depend on the same axes, and one number for those that depend on none."""
    constant, rest = 0.0, []  # type: float, list[Cost]
    alike: dict[tuple[bytes, ...], Table] = {}
    for term in terms:
        if isinstance(term, Term) and not term.axes:
            constant += term.coefficient
        elif isinstance(term, Table):
            key = tuple(ids.tobytes() for ids in term.axes)
            held = alike.get(key)
            alike[key] = term if held is None else Table(term.axes, term.grid, held.values + term.values)
        else:
            rest.append(term)
    return [Term(constant, ()), *rest, *alike.values()]


def breakdown(
    model: nn.Module, inputs: Any, *, threads: int = 1, timings: Timings | None = None
) -> list[tuple[str, float]]:
    """Milliseconds of each module's own operators, the dearest first; operators outside all modules are ``""``."""
    timings = timings or timings_of(model, threads)
    spent: dict[str, float] = {}
    for call in calls(model, None, inputs):
        timing = timings.of(call)
        if timing is not None:
            spent[call.path] = spent.get(call.path, 0.0) + timing[0]
    timings.save()
    return sorted(spent.items(), key=lambda item: -item[1])
