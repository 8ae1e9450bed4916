"""What layers may be told: minimum, largest share removed, rounding, ties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch

from ..errors import StructureError
from .layers import Layer, Rounding, Unit, matching, settle, units

L = TypeVar("L", bound="Limited")


class Limited:
    """Layers with limits. What follows from them (minimum, multiple, counts) is kept up to date.

    Attributes:
        layers: families of players.
        native: what the device computes in; see :func:`device_multiple`.
        auto: what 'auto' rounds to: ``native``, or less where a budget needs it.
    """

    layers: list[Layer]
    native: int
    auto: int
    granularity: str

    @cached_property
    def minimum(self) -> np.ndarray:
        """``(layers,)`` how many players each layer must keep."""
        return np.array([layer.minimum for layer in self.layers], dtype=float)

    @cached_property
    def units(self) -> list[Unit]:
        """What may be kept of each layer, tied layers together."""
        return units(self.layers)

    def limit(
        self: L,
        minimum: int | Mapping[str, int] | None = None,
        maximum_ratio: float | Mapping[str, float] | None = None,
        round_to: Rounding | Mapping[str, Rounding] | None = None,
        *,
        layers: str = "*",
    ) -> L:
        """Limit what may be cut; every budget and every cut respects it. What is not given stays as it was, and where
        two limits meet the later one holds.

        Args:
            minimum: players that a layer keeps at least.
            maximum_ratio: the largest share of a layer that may be removed, 0 to 1.
            round_to: the width that a layer keeps (channels; heads × head_dim) is a multiple of this, or the whole
                layer; a layer narrower than it stays whole. 'auto' is 8 on CUDA, on a CPU 16 with AVX-512 and else 8,
                halved as often as the budget needs.
            layers: the layers that are meant, by name or pattern (``layer1.*``). Each limit may also be given as a
                mapping from names or patterns to values.
        Returns:
            self.
        Raises:
            StructureError: no layer has such a name, or a value is no such limit.
        """
        given: dict[str, Any] = {"minimum": minimum, "maximum_ratio": maximum_ratio, "round_to": round_to}
        told = [layer.limits for layer in self.layers]
        auto = self.auto
        for name, value in given.items():
            if value is None:
                continue
            for pattern, one in value.items() if isinstance(value, Mapping) else [(layers, value)]:
                check_limit(name, one)
                found = matching(self.layers, pattern)
                if name == "round_to" and one not in (1, "auto") and not any(self.layers[i].channels for i in found):
                    raise StructureError(
                        f"round_to={one}: {pattern!r} names no layer with a width; granularity {self.granularity!r} "
                        "leaves shapes as they are, so there is nothing to round"
                    )
                for i in found:
                    told[i] = replace(told[i], **{name: one})
                auto = self.native if one == "auto" else auto
        self.layers = [replace(layer, limits=limits) for layer, limits in zip(self.layers, told)]
        return self.round_auto_to(auto)

    def tie(self: L, *names: str) -> L:
        """Have layers keep equally many players.

        Args:
            names: names or patterns; all layers that match any of them are tied together, and to what those were tied
                to before.
        Returns:
            self.
        Raises:
            StructureError: a name matches nothing, only one layer is meant, or layers differ in size.
        """
        found = sorted({i for name in names for i in matching(self.layers, name)})
        mine = {self.layers[i].limits.tie for i in found} - {""}
        found = [i for i, layer in enumerate(self.layers) if i in found or layer.limits.tie in mine]
        said = ", ".join(names)
        if len(found) < 2:
            raise StructureError(f"tie {said!r} names fewer than two layers; there is nothing to tie")
        if len({self.layers[i].dense for i in found}) > 1:
            listed = ", ".join(f"{self.layers[i].name} ({self.layers[i].dense})" for i in found)
            raise StructureError(f"tie {said!r}: only layers of equal size can keep equally many; these are {listed}")
        for i in found:
            limits = replace(self.layers[i].limits, tie=self.layers[found[0]].name)
            self.layers[i] = replace(self.layers[i], limits=limits)
        return self.round_auto_to(self.auto)

    def round_auto_to(self: L, multiple: int) -> L:
        """Set what 'auto' rounds to. Returns self."""
        self.auto = multiple
        self.layers = settle(self.layers, multiple)
        for name in ("minimum", "units"):  # computed from the layers, once
            self.__dict__.pop(name, None)
        return self

    def give_way(self) -> bool:
        """Halve what 'auto' rounds to. False where nothing is rounded by it, or no further."""
        if self.auto == 1 or not any(layer.limits.round_to == "auto" and layer.channels for layer in self.layers):
            return False
        self.round_auto_to(self.auto // 2)
        return True

    @property
    def coarsest(self) -> int:
        """The largest number that a layer was told to round to."""
        return max((x.limits.round_to for x in self.layers if isinstance(x.limits.round_to, int)), default=1)

    def minimum_if(self, width: int) -> np.ndarray:
        """``(layers,)`` what :attr:`minimum` would be if no layer were told to round to more than ``width``."""

        def finer(layer: Layer) -> Layer:
            asked = layer.limits.round_to
            asked = asked if asked == "auto" else min(asked, width)
            return replace(layer, limits=replace(layer.limits, round_to=asked))

        return np.array([layer.minimum for layer in settle(map(finer, self.layers), self.auto)], dtype=float)


def device_multiple(device: torch.device) -> int:
    """Widths that a device computes at full speed are multiples of this: 8 for CUDA's tensor cores (16-bit numbers),
    16 for a CPU with AVX-512 (a register holds 16 floats), else 8."""
    if device.type == "cpu":
        return 16 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 8
    return 8


def parse_limit(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``layer1.*:minimum=8,round_to=16``: the pattern, and the settings for :meth:`Players.limit`.

    Raises:
        StructureError: the text is not of that form; the message shows it and the grammar.
    """
    grammar = "write PATTERN:NAME=VALUE,… with minimum=, maximum_ratio= or round_to=, such as 'layer1.*:round_to=8'"
    pattern, colon, rest = text.rpartition(":")
    if not colon or not pattern or not rest:
        raise StructureError(f"limit {text!r}: {grammar}")
    settings: dict[str, Any] = {}
    for part in rest.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in _KINDS:
            raise StructureError(f"limit {text!r}: {part.strip()!r} is no limit; {grammar}")
        try:
            settings[name] = "auto" if (name, value) == ("round_to", "auto") else _KINDS[name](value)
        except ValueError:
            raise StructureError(f"limit {text!r}: {value!r} is no value of {name}; {grammar}") from None
    return pattern.strip(), settings


_KINDS: Mapping[str, Any] = {"minimum": int, "maximum_ratio": float, "round_to": int}


def check_limit(name: str, value: Any) -> None:
    """Raises: StructureError for a value that is no such limit."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    good = {
        "minimum": whole and value >= 0,
        "maximum_ratio": isinstance(value, (int, float)) and 0 <= value <= 1,
        "round_to": value == "auto" or (whole and value >= 1),
    }
    allowed = {
        "minimum": "a number of players, 0 or more",
        "maximum_ratio": "between 0 (none may go) and 1 (all but the minimum)",
        "round_to": "'auto' or a whole number from 1",
    }
    if not good[name]:
        raise StructureError(f"limit {name}={value!r}: must be {allowed[name]}")
