"""The loss as a subnetwork sees it: the Hessian restricted to what a mask keeps.

A mask m is a projection P_m of the weights, and the subnetwork moves within its image, where the curvature is
P_m H P_m (survey *lottery*, the geometry of pruning). A direction v that lives on pruned weights alone has none of it,
vᵀP_m H P_m v = 0: if the directions of negative curvature are among them, a saddle of the whole network is a minimum of
the subnetwork. Deleting rows and columns narrows a symmetric spectrum (Cauchy's interlacing):

    λ_min(H) ≤ λ_min(P_m H P_m on the support) ≤ λ_max(P_m H P_m on the support) ≤ λ_max(H)

at one and the same point. A subnetwork, however, stands at m∘θ, not at θ, and has a Hessian of its own there.
Products H·v are those of :class:`secateurs.signals.Signals`; where the support is small the matrix is formed by one
product a column and every eigenvalue is known, else the ends are found by Lanczos' method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..maths.lanczos import ends
from ..partition import Players
from ..shapes import Mask
from ..signals import Signals
from ..signals.signals import Batch
from ..training import Loss

DENSE = 2000  # weights on the support up to which the whole spectrum is found


class MaskedHessian:
    """P_m H P_m of the mean loss at the weights that the model holds, on the m's support.

    Args:
        signals: of the model, over the batches that the loss is the mean of. Best in float64.
        keep: ``(players,)`` mask; None keeps all. Only gated parameters are weights here.
    Attributes:
        dimension: how many weights are on the support.
    """

    def __init__(self, signals: Signals, keep: Mask | None = None) -> None:
        self.signals = signals
        theta = signals.theta
        ones = [torch.ones_like(p) for p in theta]
        if keep is not None:
            signals.players.gates.scaled(ones, keep.to(theta[0]), out=ones)
        self._index = torch.cat([x.flatten() for x in ones]).nonzero().squeeze(1)
        self._sizes = [p.numel() for p in theta]
        self._shapes = [p.shape for p in theta]
        self.dimension = int(self._index.numel())

    def product(self, v: Tensor) -> Tensor:
        """P H P v for v on the support, ``(dimension,)`` float64."""
        whole = v.new_zeros(sum(self._sizes))
        whole[self._index] = v
        like = self.signals.parameters
        pieces = [x.view(s).to(p) for x, s, p in zip(whole.split(self._sizes), self._shapes, like)]
        out = torch.cat([x.flatten() for x in self.signals.product(pieces)])
        return out[self._index].to(v)

    def matrix(self) -> Tensor:
        """All of it, ``(dimension, dimension)``: one product a column."""
        unit = torch.eye(self.dimension, dtype=torch.float64)
        dense = torch.stack([self.product(e) for e in unit]) if self.dimension else unit
        return 0.5 * (dense + dense.T)


@dataclass(frozen=True)
class Spectrum:
    """What a Hessian says of the landscape.

    Attributes:
        dimension: weights on the support. largest, smallest: eigenvalues.
        negative: how many lie below zero (beyond rounding), and ``depth`` the sum of their sizes; None where only the
            ends were found.
    """

    dimension: int
    largest: float
    smallest: float
    negative: int | None
    depth: float | None

    @property
    def condition(self) -> float | None:
        """λ_max/λ_min; None where the Hessian is not positive definite, so that there is no such number."""
        floor = self.dimension * 1e-14 * max(abs(self.largest), abs(self.smallest))
        return self.largest / self.smallest if self.smallest > floor else None


def spectrum(hessian: MaskedHessian, *, dense: int = DENSE, steps: int = 300) -> Spectrum:
    """Eigenvalues on the support.

    Args:
        dense: form the matrix up to this many weights. steps: products that Lanczos' method may take above.
    Raises:
        ValueError: the mask keeps nothing.
    """
    if hessian.dimension == 0:
        raise ValueError("the mask keeps no weight: there is no landscape left")
    if hessian.dimension > dense:
        found = ends(hessian.product, hessian.dimension, steps=steps)
        return Spectrum(hessian.dimension, found.largest, found.smallest, None, None)
    values = torch.linalg.eigvalsh(hessian.matrix())
    floor = hessian.dimension * 1e-14 * float(values.abs().max())
    below = values[values < -floor]
    return Spectrum(hessian.dimension, float(values[-1]), float(values[0]), below.numel(), float(below.abs().sum()))


@dataclass(frozen=True)
class Row:
    """A line of the table: which weights, seen through which mask, their loss there, and the spectrum."""

    checkpoint: str
    mask: str
    loss: float
    spectrum: Spectrum


def landscape(
    players: Players,
    batches: Sequence[Batch],
    checkpoints: Mapping[str, Mapping[str, Tensor]],
    masks: Mapping[str, Mask | None],
    *,
    loss: Loss | None = None,
    in_place: bool = False,
    dense: int = DENSE,
) -> list[Row]:
    """Loss and spectrum for every checkpoint through every mask.

    Args:
        players: of the model; it gets its weights back.
        checkpoints: state dicts by name, such as the start, an early step to rewind to, and the end.
        masks: by name; None is the dense network.
        in_place: look at the dense network's own point θ through the mask, where the spectra interlace. Else at m∘θ,
            where the subnetwork stands.
    """
    rows = []
    for name, state in checkpoints.items():
        for label, keep in masks.items():
            with _holding(players, state, None if in_place else keep):
                signals = Signals(players, batches, loss=loss)
                value = _mean_loss(signals)
                rows.append(Row(name, label, value, spectrum(MaskedHessian(signals, keep), dense=dense)))
    return rows


@contextmanager
def _holding(players: Players, state: Mapping[str, Tensor], keep: Mask | None) -> Iterator[None]:
    """The model with these weights, masked; its own are put back."""
    model = players.model
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    try:
        model.load_state_dict(state)
        if keep is not None:
            held = [p.data for p in players.gates.parameters]
            players.gates.scaled(held, keep.to(held[0]), out=held)
        yield
    finally:
        model.load_state_dict(before)


def _mean_loss(signals: Signals) -> float:
    model = signals.players.model
    with torch.no_grad():
        values = [(float(signals.loss(model, x, y)), len(y)) for x, y in signals.batches]
    return sum(v * n for v, n in values) / sum(n for _, n in values)


__all__ = ["MaskedHessian", "Row", "Spectrum", "landscape", "spectrum"]
