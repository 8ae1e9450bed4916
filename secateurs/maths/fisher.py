"""A Hessian made of the gradients of single examples, and what follows from it in as many equations as examples.

With per-example gradients as columns of G (elements × N), H = λI + GGᵀ/N. Everything is solved in N × N, by Woodbury's
identity, with M = λN·I + GᵀG:

    H⁻¹ = (I − G·M⁻¹Gᵀ)/λ
"""

from __future__ import annotations

import torch
from torch import Tensor

PIECE = 1 << 24  # numbers held at a time


def gram(grads: Tensor, weight: Tensor | None = None) -> Tensor:
    """GᵀG in float64, ``(N, N)``, over the elements that ``weight`` leaves; ``grads`` is ``(N, elements)``."""
    total = torch.zeros(len(grads), len(grads), dtype=torch.float64, device=grads.device)
    step = max(1, PIECE // len(grads))
    for start in range(0, grads.shape[1], step):
        part = grads[:, start : start + step].double()
        total += (part if weight is None else part * weight[start : start + step]) @ part.T
    return total


def shift(grads: Tensor, damping: float) -> float:
    """λN, with λ a share (``damping``) of the mean diagonal of GGᵀ/N; of gradients that are all zero any λ will do."""
    mean = float(torch.einsum("nd,nd->n", grads, grads).double().sum()) / grads.shape[1]
    return damping * mean or damping


def shifted(square: Tensor, by: float) -> Tensor:
    """``square`` + ``by``·I."""
    return square + by * torch.eye(len(square), dtype=square.dtype, device=square.device)


def compensation(grads: Tensor, theta: Tensor, stays: Tensor, by: float) -> Tensor:
    """What the elements that stay (K) do about those that go (Q): the δ that minimises ½·δᵀHδ over all δ with
    δ_Q = −θ_Q, δ_K = H_KK⁻¹H_KQ·θ_Q = A_K(λN·I + A_KᵀA_K)⁻¹A_Qᵀθ_Q, A_K and A_Q being the rows of G.

    Args:
        grads: ``(N, elements)``. theta: ``(elements,)``. stays: 1 where an element stays, else 0.
        by: λN, see :func:`shift`.
    Returns:
        δ_K, zero elsewhere, ``(elements,)``.
    """
    lost = (grads @ (theta * (1 - stays))).double()
    return (torch.linalg.solve(shifted(gram(grads, stays), by), lost).to(grads) @ grads) * stays
