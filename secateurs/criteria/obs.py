"""Optimal brain surgeon: what removal costs once the weights that stay have made up for it.

The Hessian is made of single examples' gradients, H = λI + GGᵀ/N, and solved with as in :mod:`secateurs.maths.fisher`,
where M = λN·I + GᵀG.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..maths.fisher import PIECE, compensation, gram, shift, shifted
from ..partition import Players
from ..shapes import Mask, PerPlayer
from ..signals import Signals
from .base import Score


class OBS(Score):
    """½·θ_gᵀ([H⁻¹]_gg)⁻¹θ_g (Hassibi & Stork 1993; for groups as in Kurtic et al. 2022), and for a single weight
    ½·w_q²/[H⁻¹]_qq: the least rise of the quadratic model ½·δᵀHδ over all changes δ with δ_g = −θ_g.

    With A_g the rows of G that are g's and u_g = A_gᵀθ_g, this is ½λ·(‖θ_g‖² + u_gᵀ(M − A_gᵀA_g)⁻¹u_g). H is over the
    gated parameters, its λ a share (``damping``) of the mean diagonal of GGᵀ/N. Of more examples than
    ``secateurs.signals`` keeps gradients of, the first are taken.

    :meth:`repair` makes the weights that stay (K) take over from those that go (Q), by the δ that minimises the model:
    δ_K = H_KK⁻¹H_KQ·w_Q = A_K(λN·I + A_KᵀA_K)⁻¹A_Qᵀw_Q.
    """

    name: ClassVar[str] = "obs"
    summary: ClassVar[str] = "the smallest ½·θᵀ([H⁻¹]_gg)⁻¹θ, the kept weights made to compensate"
    source: ClassVar[str] = "Hassibi & Stork 1993"
    cost: ClassVar[str] = "a backward pass for every example of a batch, and their gradients kept"
    needs: ClassVar[str] = "a calibration batch, example by example"
    calibration: ClassVar[int] = 1

    def __init__(self, damping: float = 1.0) -> None:
        self.damping = damping

    def __call__(self, players: Players, signals: Signals) -> PerPlayer:
        grads = signals.example_gradients
        by = shift(grads, self.damping)
        square = shifted(gram(grads), by)
        if players.granularity == "weight":
            energy = _single(players, signals, grads, square)
        else:
            energy = _grouped(players, signals, grads, square)
        return (0.5 * by / len(grads) * energy).to(players.dtype)

    def repair(self, players: Players, signals: Signals, keep: Mask) -> None:
        grads, gates = signals.example_gradients, players.gates
        ones = [torch.ones_like(t) for t in signals.theta]
        gates.scaled(ones, keep.to(ones[0]), out=ones)
        stays = torch.cat([t.flatten() for t in ones]).to(grads)
        theta = torch.cat([t.flatten() for t in signals.theta]).to(grads)
        change = compensation(grads, theta, stays, shift(grads, self.damping))
        with torch.no_grad():
            for parameter, piece in zip(gates.parameters, change.split([p.numel() for p in gates.parameters])):
                parameter.add_(piece.view_as(parameter))


def _single(players: Players, signals: Signals, grads: Tensor, square: Tensor) -> PerPlayer:
    """w² + u²/(1 − q) per weight with q = aᵀM⁻¹a, which is w²/(1 − q): by Sherman & Morrison, in float64."""
    factor = torch.linalg.cholesky(square)
    pieces = []
    for start in range(0, grads.shape[1], max(1, PIECE // len(grads))):
        part = grads[:, start : start + max(1, PIECE // len(grads))].double()
        pieces.append(torch.linalg.solve_triangular(factor, part, upper=False).square_().sum(0))
    theta = torch.cat([t.flatten() for t in signals.theta]).double()
    energy = theta.square() / (1 - torch.cat(pieces)).clamp_min_(torch.finfo(torch.float64).eps)
    shaped = [e.view_as(t) for e, t in zip(energy.split([t.numel() for t in signals.theta]), signals.theta)]
    return players.gates.dot(shaped, [torch.ones_like(e) for e in shaped])


def _grouped(players: Players, signals: Signals, grads: Tensor, square: Tensor) -> PerPlayer:
    """‖θ_g‖² + u_gᵀ(M − A_gᵀA_g)⁻¹u_g, some players at a time."""
    count = len(grads)
    sizes = [t.numel() for t in signals.theta]
    places = torch.arange(sum(sizes), device=grads.device).split(sizes)
    slices = list(players.gates.stacked([i.view_as(t) for i, t in zip(places, signals.theta)]))
    theta = torch.cat([t.flatten() for t in signals.theta]).double()
    energy = torch.zeros(players.count, dtype=torch.float64, device=grads.device)
    widest = max(rows.shape[1] for _, rows in slices)
    step = max(1, PIECE // (count * (count + widest)))
    for start in range(0, players.count, step):
        stop = min(start + step, players.count)
        left = square.repeat(stop - start, 1, 1)
        slope = square.new_zeros(stop - start, count)
        for who, rows in slices:
            mine = (who >= start) & (who < stop)
            if not bool(mine.any()):
                continue
            own, at = grads[:, rows[mine]].double().movedim(0, 1), who[mine] - start  # (players, N, elements)
            left.index_add_(0, at, own @ own.mT, alpha=-1)
            slope.index_add_(0, at, (own @ theta[rows[mine]].unsqueeze(-1)).squeeze(-1))
            energy.index_add_(0, who[mine], theta[rows[mine]].square().sum(1))
        energy[start:stop] += (slope * torch.linalg.solve(left, slope)).sum(1)
    return energy
