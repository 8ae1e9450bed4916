"""Penalties on participations in [0, 1]: how much of an ℓ0 count each stands for.

A penalty R(m) = Σ_g ρ(m_g) is normalised: ρ(0) = 0, ρ(1) = 1, so that on binary masks every one of them is the count,
and it does not decrease. What they differ in is the slope. With a straight ρ (ℓ1) every unit of participation is as
dear as any other; with a concave ρ the last one that a player holds is the dearest, so that participations are driven
to the ends. All slopes at 0 are finite, so that a projected gradient step is defined everywhere.

    log    log(1 + m/κ) / log(1 + 1/κ)                 this project's; also the market's concave rent
    l1     m
    mcp    ∫ (1 − t/a)₊ dt                             minimax concave penalty (Zhang 2010)
    scad   ∫ min(1, (aκ − t)₊ / ((a − 1)κ)) dt         smoothly clipped absolute deviation (Fan & Li 2001)
    lp     (m + δ)^p − δ^p,  p < 1                      smoothed, which makes the slope at 0 finite

the last three divided by their value at 1. Arrays in, arrays of the same shape out; the arguments are in [0, 1].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


class Penalty(ABC):
    """ρ and its derivative."""

    name: ClassVar[str]

    @abstractmethod
    def amount(self, m: np.ndarray) -> np.ndarray:
        """ρ(m): 0 at 0, 1 at 1."""

    @abstractmethod
    def slope(self, m: np.ndarray) -> np.ndarray:
        """ρ'(m)."""

    @property
    @abstractmethod
    def bend(self) -> float:
        """The smallest c ≥ 0 with ρ(m) + (c/2)·m² convex on [0, 1]: how far from convex it is."""


@dataclass(frozen=True)
class Log(Penalty):
    """log(1 + m/knee) / log(1 + 1/knee). The smaller the knee, the nearer to the count."""

    name: ClassVar[str] = "log"
    knee: float = 0.1

    def amount(self, m: np.ndarray) -> np.ndarray:
        return np.log1p(m / self.knee) * self._scale

    def slope(self, m: np.ndarray) -> np.ndarray:
        return self._scale / (m + self.knee)

    @property
    def bend(self) -> float:
        return self._scale / self.knee**2

    @property
    def _scale(self) -> float:
        return 1.0 / math.log1p(1.0 / self.knee)


@dataclass(frozen=True)
class L1(Penalty):
    """m: the convex envelope of the count on [0, 1]."""

    name: ClassVar[str] = "l1"

    def amount(self, m: np.ndarray) -> np.ndarray:
        return m

    def slope(self, m: np.ndarray) -> np.ndarray:
        return np.ones_like(m)

    @property
    def bend(self) -> float:
        return 0.0


class _Scaled(Penalty):
    """One that is divided by its value at 1."""

    def amount(self, m: np.ndarray) -> np.ndarray:
        return self._value(m) / self._end

    def slope(self, m: np.ndarray) -> np.ndarray:
        return self._derivative(m) / self._end

    @property
    def _end(self) -> float:
        return float(self._value(np.ones(1))[0])

    @abstractmethod
    def _value(self, m: np.ndarray) -> np.ndarray:
        """0 at 0, not normalised."""

    @abstractmethod
    def _derivative(self, m: np.ndarray) -> np.ndarray:
        """Of :meth:`_value`."""


@dataclass(frozen=True)
class MCP(_Scaled):
    """m − m²/(2a) up to a, a/2 beyond: the slope falls straight from its largest to 0 at a."""

    name: ClassVar[str] = "mcp"
    a: float = 1.0

    def _value(self, m: np.ndarray) -> np.ndarray:
        t = np.minimum(m, self.a)
        return t - t * t / (2 * self.a)

    def _derivative(self, m: np.ndarray) -> np.ndarray:
        return np.maximum(1.0 - m / self.a, 0.0)

    @property
    def bend(self) -> float:
        return 1.0 / self.a / self._end


@dataclass(frozen=True)
class SCAD(_Scaled):
    """Straight up to the knee, then a slope that falls to 0 at a·knee, then flat."""

    name: ClassVar[str] = "scad"
    knee: float = 0.2
    a: float = 3.7  # Fan and Li's own

    def _value(self, m: np.ndarray) -> np.ndarray:
        bent = np.clip(m, self.knee, self.a * self.knee) - self.knee
        return np.minimum(m, self.knee) + bent - bent * bent / (2 * (self.a - 1) * self.knee)

    def _derivative(self, m: np.ndarray) -> np.ndarray:
        falling = np.maximum(self.a * self.knee - m, 0.0) / ((self.a - 1) * self.knee)
        return np.minimum(falling, 1.0)

    @property
    def bend(self) -> float:
        return 1.0 / ((self.a - 1) * self.knee) / self._end


@dataclass(frozen=True)
class Lp(_Scaled):
    """(m + δ)^p − δ^p with p < 1."""

    name: ClassVar[str] = "lp"
    p: float = 0.5
    delta: float = 0.01

    def _value(self, m: np.ndarray) -> np.ndarray:
        return (m + self.delta) ** self.p - self.delta**self.p

    def _derivative(self, m: np.ndarray) -> np.ndarray:
        return self.p * (m + self.delta) ** (self.p - 1)

    @property
    def bend(self) -> float:
        return self.p * (1 - self.p) * self.delta ** (self.p - 2) / self._end


PENALTIES: dict[str, Callable[..., Penalty]] = {cls.name: cls for cls in (Log, L1, MCP, SCAD, Lp)}
