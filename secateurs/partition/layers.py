"""Layers of players, and how many of each may stay.

A layer may be told a minimum, a largest share to lose, a multiple to which its width is rounded, and to be tied to
others. Together these leave an ascending list of *counts* that it may keep: from its minimum upwards in steps of its
multiple, and all of it. Layers that are tied share one list. Whatever cuts asks for these lists, so that every limit
holds at every cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np

from ..errors import StructureError, suggest

Rounding: TypeAlias = int | Literal["auto"]

WITH_WIDTH = ("channel", "head")  # granularities whose groups are indices of a layer's output


@dataclass(frozen=True)
class Limits:
    """What a layer was told.

    Attributes:
        minimum: how many players stay at least; never fewer than the layer needs.
        maximum_ratio: the largest share of them that may be removed.
        round_to: its width is a multiple of this; 'auto' is what the device computes in.
        tie: the layers with the same name here keep equally many; '' is a layer of its own.
    """

    minimum: int = 0
    maximum_ratio: float = 1.0
    round_to: Rounding = 1
    tie: str = ""


@dataclass(frozen=True)
class Layer:
    """A family of players.

    Attributes:
        name: the module that produces what they carry.
        kind: 'channel', 'head', 'block' or 'weight'.
        start, stop: its players are ``start … stop−1``.
        tied_to: every place that is cut when one of them goes.
        dense: how many there were before any was cut.
        channels: indices of the layer's output that one of them holds (a head: its head_dim); 0 without a width.
        least: how many the network needs.
        limits: what was asked for.
        minimum: how many must stay, all limits considered.
        multiple: how many stay is a multiple of this, or all.
    """

    name: str
    kind: str
    start: int
    stop: int
    tied_to: tuple[str, ...] = ()
    dense: int = 0
    channels: int = 0
    least: int = 1
    limits: Limits = Limits()
    minimum: int = 1
    multiple: int = 1

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class Unit:
    """Layers that keep equally many: one layer, or several that are tied.

    Attributes:
        layers: their numbers.
        steps: the numbers of players that each of them may keep, in steps of their multiple.
        whole: how many there are, if that is allowed beside them; else 0.
    """

    layers: tuple[int, ...]
    steps: range
    whole: int = 0

    @cached_property
    def counts(self) -> np.ndarray:
        """Every number of players that each of them may keep, ascending. Of single weights there are millions."""
        found = np.arange(self.steps.start, self.steps.stop, self.steps.step)
        return np.append(found, self.whole) if self.whole else found

    @property
    def least(self) -> int:
        """The smallest of them."""
        return self.steps[0] if self.steps else self.whole

    @property
    def free(self) -> bool:
        """Whether it is one layer that may keep any number from its least to all."""
        return len(self.layers) == 1 and self.steps.step == 1

    def above(self, count: int) -> int:
        """The smallest allowed number that is at least ``count``; the largest of all where there is none."""
        return int(self.counts[min(int(np.searchsorted(self.counts, count)), len(self.counts) - 1)])

    def nearest(self, count: int) -> int:
        """The allowed number nearest to ``count``, the smaller of two that are equally near."""
        return int(self.counts[np.abs(self.counts - count).argmin()])


def units(layers: Sequence[Layer]) -> list[Unit]:
    """The layers by what ties them, in order of the first of each."""
    together: dict[Any, list[int]] = {}
    for i, layer in enumerate(layers):
        together.setdefault(layer.limits.tie or i, []).append(i)
    return [Unit(tuple(found), *_counts([layers[i] for i in found])) for found in together.values()]


def _counts(tied: Sequence[Layer]) -> tuple[range, int]:
    size = min(layer.size for layer in tied)
    whole = all(layer.size == layer.dense for layer in tied)
    minimum = max(layer.minimum for layer in tied)
    multiple = math.lcm(*(layer.multiple for layer in tied))
    found = range(-(-minimum // multiple) * multiple, size + 1, multiple)
    # A layer that was cut by hand below its limits stays as it is.
    return found, size if not found or (whole and found[-1] < size) else 0


def settle(layers: Iterable[Layer], auto: int) -> list[Layer]:
    """The layers with ``minimum`` and ``multiple`` as their limits say, ties considered; ``auto`` is what 'auto' rounds
    to."""
    out = []
    for layer in layers:
        told = layer.limits
        least = max(layer.least, told.minimum, math.ceil(layer.dense * (1 - told.maximum_ratio) - 1e-9))
        width = auto if told.round_to == "auto" else told.round_to
        multiple = width // math.gcd(width, layer.channels) if layer.channels else 1
        out.append(replace(layer, minimum=min(least, layer.dense), multiple=multiple))
    for unit in units(out):
        multiple = math.lcm(*(out[i].multiple for i in unit.layers))
        for i in unit.layers:
            out[i] = replace(out[i], minimum=unit.least, multiple=multiple)
    return out


def within(name: str, pattern: str) -> bool:
    """Whether a module path matches a pattern (``*``, ``?``, ``[…]``), or lies below one that does."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, pattern + ".*")


def matching(layers: Sequence[Layer], pattern: str) -> list[int]:
    """Numbers of the layers whose names match.

    Raises:
        StructureError: there is none; names the layer that the place belongs to, or the nearest names.
    """
    found = [i for i, layer in enumerate(layers) if within(layer.name, pattern)]
    if found:
        return found
    names = list(dict.fromkeys(layer.name for layer in layers))
    owner = next((x.name for x in layers if any(within(place, pattern) for place in outputs(x))), None)
    hint = f"it belongs to {owner!r}, which is the name to use" if owner else suggest(pattern, names)
    raise StructureError(f"no layer matches {pattern!r}; {hint}")


def outputs(layer: Layer) -> Iterable[str]:
    """The modules and parameters whose outputs a layer's players are; its own name first."""
    yield layer.name
    for place in layer.tied_to:
        tensor, _, side = place.partition("[")
        if not side.startswith("in"):
            yield tensor
            yield tensor.rpartition(".")[0]
