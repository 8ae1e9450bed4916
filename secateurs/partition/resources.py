"""What participation costs: parameters, MACs, bytes and groups as one multilinear function of layer widths.

A parameter tensor costs (kept rows)·(kept columns)·…, a contraction likewise, so every resource is
R(w) = Σ_t c_t·Π_k w_k over the widths w of the axes involved. Each width is a constant plus the *mass* of
the layers that label that axis, w_k = c_k + Σ_l m_kl·Φ_l with Φ_l = Σ_{g∈l} φ(s_g). For masks this is the exact count;
for participations in between it is what the market charges, and ∂R/∂Φ_l is the player's marginal amount r_g:
what would be freed if it left, its neighbours staying as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import BudgetError


@dataclass(frozen=True, eq=False)
class Resource:
    """One resource in compiled form. Everything is small and lives on the host.

    Attributes:
        name: 'params', 'macs', 'bytes' or 'groups'.
        constant: ``(widths,)`` part of each width that no player owns.
        multiplicity: ``(widths, layers)`` indices that one player of a layer owns.
        coefficient: ``(terms,)``.
        factors: ``(terms, k)`` indices into widths; the last width is the constant 1, for padding.
    """

    name: str
    constant: np.ndarray
    multiplicity: np.ndarray
    coefficient: np.ndarray
    factors: np.ndarray

    def amount(self, mass: np.ndarray) -> float:
        """R at the given mass per layer, ``(layers,)``."""
        widths = self.constant + self.multiplicity @ mass
        return float(self.coefficient @ widths[self.factors].prod(1))

    def marginal(self, mass: np.ndarray) -> np.ndarray:
        """∂R/∂Φ_l, ``(layers,)``: the amount one whole player of each layer costs at these widths."""
        widths = self.constant + self.multiplicity @ mass
        slope = np.zeros_like(widths)
        for factors, others in self._splits:
            weights = self.coefficient * widths[others].prod(1) if others.size else self.coefficient
            slope += np.bincount(factors, weights, minlength=len(widths))
        return slope @ self.multiplicity

    @cached_property
    def _splits(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each position in the terms: the factor there, and all others."""
        return [(self.factors[:, k], np.delete(self.factors, k, axis=1)) for k in range(self.factors.shape[1])]


def compile_resource(
    name: str, terms: Sequence[tuple[float, Sequence[np.ndarray]]], layer_of_atom: np.ndarray, layers: int
) -> Resource:
    """Compile ``coefficient · Π (kept indices of axis)`` terms, each axis given as an array of atom ids (−1: constant).

    Requires that all atoms of a layer own equally many indices of an axis (see :func:`split_by_multiplicity`).
    """
    sizes = np.bincount(layer_of_atom[layer_of_atom >= 0], minlength=layers).astype(float)
    known: dict[bytes, int] = {}
    constant: list[float] = []
    rows: list[np.ndarray] = []
    factors: list[list[int]] = []
    for _, axes in terms:
        row = []
        for ids in axes:
            key = np.ascontiguousarray(ids).tobytes()
            if key not in known:
                known[key] = len(constant)
                owner = np.where(ids >= 0, layer_of_atom[np.maximum(ids, 0)], -1)
                constant.append(float((owner < 0).sum()))
                rows.append(np.bincount(owner[owner >= 0], minlength=layers) / np.maximum(sizes, 1))
            row.append(known[key])
        factors.append(row)
    one = len(constant)
    depth = max((len(row) for row in factors), default=1) or 1
    padded = [row + [one] * (depth - len(row)) for row in factors] or [[one]]
    return Resource(
        name,
        np.array([*constant, 1.0]),
        np.stack([*rows, np.zeros(layers)]),
        np.array([c for c, _ in terms] or [0.0], dtype=float),
        np.array(padded),
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
