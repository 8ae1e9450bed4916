"""What participation costs: parameters, MACs, bytes, groups and milliseconds as one function of layer widths.

A parameter tensor costs (kept rows)·(kept columns)·…, a contraction likewise, so every resource is
R(w) = Σ_t c_t·Π_k w_k over the widths w of the axes involved; what was measured at some widths, and is linear in
between, adds its tables. Each width is a constant plus the *mass* of
the layers that label that axis, w_k = c_k + Σ_l m_kl·Φ_l with Φ_l = Σ_{g∈l} φ(s_g). For masks this is the exact count;
for participations in between it is what the market charges, and ∂R/∂Φ_l is the player's marginal amount r_g:
what would be freed if it left, its neighbours staying as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from ..errors import BudgetError
from ..structure.types import Cost, Table, Term


@dataclass(frozen=True, eq=False)
class Resource:
    """One resource in compiled form. Everything is small and lives on the host.

    Attributes:
        name: 'params', 'macs', 'bytes', 'groups' or 'latency'.
        constant: ``(widths,)`` part of each width that no player owns.
        multiplicity: ``(widths, layers)`` indices that one player of a layer owns.
        coefficient: ``(terms,)``.
        factors: ``(terms, k)`` indices into widths; the last width is the constant 1, for padding.
        tables: what was measured.
    """

    name: str
    constant: np.ndarray
    multiplicity: np.ndarray
    coefficient: np.ndarray
    factors: np.ndarray
    tables: tuple[Tables, ...] = ()

    def amount(self, mass: np.ndarray) -> float:
        """R at the given mass per layer, ``(layers,)``."""
        widths = self.constant + self.multiplicity @ mass
        products = float(self.coefficient @ widths[self.factors].prod(1))
        return products + sum(table.amount(widths) for table in self.tables)

    def marginal(self, mass: np.ndarray) -> np.ndarray:
        """∂R/∂Φ_l, ``(layers,)``: the amount one whole player of each layer costs at these widths."""
        widths = self.constant + self.multiplicity @ mass
        slope = np.zeros_like(widths)
        for factors, others in self._splits:
            weights = self.coefficient * widths[others].prod(1) if others.size else self.coefficient
            slope += np.bincount(factors, weights, minlength=len(widths))
        for table in self.tables:
            slope += table.slope(widths)
        return slope @ self.multiplicity

    @cached_property
    def uniform(self) -> bool:
        """Whether every player costs the same, whatever the others do."""
        if self.tables or self.factors.shape[1] != 1:
            return False
        each = self.marginal(np.zeros(self.multiplicity.shape[1]))
        return bool((each == each[0]).all() and each[0] > 0)

    @cached_property
    def _splits(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each position in the terms: the factor there, and all others."""
        return [(self.factors[:, k], np.delete(self.factors, k, axis=1)) for k in range(self.factors.shape[1])]


@dataclass(frozen=True, eq=False)
class Tables:
    """Tables of one shape, interpolated together.

    Attributes:
        factors: ``(tables, d)`` the widths that each depends on.
        grid: for each dimension ``(tables, points)``, ascending.
        values: ``(tables, points, …)``, not falling along any dimension.
    """

    factors: np.ndarray
    grid: tuple[np.ndarray, ...]
    values: np.ndarray

    def amount(self, widths: np.ndarray) -> float:
        below, share, _ = self._cells(widths)
        return sum(float((self._corner(below, c) * _weight(share, c)).sum()) for c in self._corners)

    def slope(self, widths: np.ndarray) -> np.ndarray:
        """∂/∂width, of the length of ``widths``; 0 beyond the grid."""
        below, share, rate = self._cells(widths)
        change = np.zeros_like(rate)
        for corner in self._corners:
            values = self._corner(below, corner)
            for d, side in enumerate(corner):
                change[:, d] += (1 if side else -1) * values * _weight(share, corner, without=d)
        # Tables do not fall; what is below zero is rounding.
        change = np.maximum(change, 0.0) * rate
        return np.bincount(self.factors.ravel(), change.ravel(), minlength=len(widths))

    @cached_property
    def _corners(self) -> list[tuple[int, ...]]:
        return list(product((0, 1), repeat=len(self.grid)))

    def _cells(self, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The grid's cell that each table is read in: its lower corner, where in it, and what a unit of width is."""
        at = widths[self.factors]
        below, share, rate = np.empty(at.shape, dtype=np.int64), np.empty(at.shape), np.empty(at.shape)
        for d, points in enumerate(self.grid):
            rows = np.arange(len(points))
            i = np.clip((points < at[:, d, None]).sum(1) - 1, 0, points.shape[1] - 2)
            low, size = points[rows, i], points[rows, i + 1] - points[rows, i]
            below[:, d], share[:, d] = i, np.clip((at[:, d] - low) / size, 0.0, 1.0)
            rate[:, d] = ((at[:, d] > points[:, 0]) & (at[:, d] <= points[:, -1])) / size
        return below, share, rate

    def _corner(self, below: np.ndarray, corner: tuple[int, ...]) -> np.ndarray:
        return self.values[(np.arange(len(below)), *(below + np.array(corner, dtype=np.int64)).T)]


def _weight(share: np.ndarray, corner: tuple[int, ...], without: int = -1) -> np.ndarray:
    """How much a corner of a cell counts; ``without`` leaves one dimension out."""
    weight = np.ones(len(share))
    for d, side in enumerate(corner):
        if d != without:
            weight *= share[:, d] if side else 1 - share[:, d]
    return weight


def compile_resource(name: str, terms: Sequence[Cost], layer_of_atom: np.ndarray, layers: int) -> Resource:
    """Compile terms over the kept indices of axes, each axis given as an array of atom ids (−1: constant).

    Requires that all atoms of a layer own equally many indices of an axis (see :func:`split_by_multiplicity`).
    """
    sizes = np.bincount(layer_of_atom[layer_of_atom >= 0], minlength=layers).astype(float)
    known: dict[bytes, int] = {}
    constant: list[float] = []
    rows: list[np.ndarray] = []

    def width(ids: np.ndarray) -> int:
        key = np.ascontiguousarray(ids).tobytes()
        if key not in known:
            known[key] = len(constant)
            owner = np.where(ids >= 0, layer_of_atom[np.maximum(ids, 0)], -1)
            constant.append(float((owner < 0).sum()))
            rows.append(np.bincount(owner[owner >= 0], minlength=layers) / np.maximum(sizes, 1))
        return known[key]

    products = [term for term in terms if isinstance(term, Term)]
    factors = [[width(ids) for ids in term.axes] for term in products]
    alike: dict[tuple[int, ...], list[Table]] = {}
    for term in terms:
        if isinstance(term, Table):
            alike.setdefault(term.values.shape, []).append(term)
    tables = tuple(
        Tables(
            np.array([[width(ids) for ids in t.axes] for t in found]),
            tuple(np.stack(points) for points in zip(*(t.grid for t in found))),
            np.stack([t.values for t in found]),
        )
        for found in alike.values()
    )
    one = len(constant)
    depth = max((len(row) for row in factors), default=1) or 1
    padded = [row + [one] * (depth - len(row)) for row in factors] or [[one]]
    return Resource(
        name,
        np.array([*constant, 1.0]),
        np.stack([*rows, np.zeros(layers)]),
        np.array([term.coefficient for term in products] or [0.0], dtype=float),
        np.array(padded),
        tables,
    )


def headcount(layers: int) -> Resource:
    """The resource 'groups': every player costs one."""
    return Resource(
        "groups",
        np.array([*[0.0] * layers, 1.0]),
        np.concatenate([np.eye(layers), np.zeros((1, layers))]),
        np.ones(layers),
        np.arange(layers)[:, None],
    )


def per_weight(name: str, each_bytes: Sequence[int], sizes: np.ndarray, total: float) -> Resource:
    """Single weights: each costs one parameter or its bytes. They free no MACs, since a dense kernel multiplies zeros
    too.

    Args:
        each_bytes: bytes of a number, by layer. sizes: ``(layers,)``. total: what the whole network uses.
    Raises:
        BudgetError: MACs were asked for.
    """
    if name == "macs":
        raise BudgetError(
            "granularity 'weight' frees no MACs, since zeros are multiplied like any number; "
            "ask for params=, bytes= or groups=, or prune channels"
        )
    cost = np.array(each_bytes if name == "bytes" else [1] * len(sizes), dtype=float)
    base = headcount(len(sizes))
    coefficient, factors = np.append(cost, total - float(cost @ sizes)), np.arange(len(sizes) + 1)[:, None]
    return Resource(name, base.constant, base.multiplicity, coefficient, factors)


def split_by_multiplicity(
    layer_of_atom: np.ndarray, axes: Mapping[tuple[str, int], np.ndarray], atoms: int
) -> np.ndarray:
    """Refine layers until all atoms of one own equally many indices of every axis. Returns new layer numbers."""
    signature = [layer_of_atom]
    for ids in axes.values():
        counts = np.bincount(ids[ids >= 0], minlength=atoms)
        if any(len(np.unique(counts[layer_of_atom == layer])) > 1 for layer in np.unique(layer_of_atom)):
            signature.append(counts)
    if len(signature) == 1:
        return layer_of_atom
    _, first, inverse = np.unique(np.stack(signature, 1), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return order[inverse.reshape(-1)]
