"""Kernels over units, from the Gram matrix of what the units say of each example.

G_st = Σ_t' a_s(t')·a_t(t') is all that is kept of the data, which may therefore stream. With |T| examples

    gaussian    exp(−β‖a_s − a_t‖²) + ε·1[s = t],  ‖a_s − a_t‖² = G_ss + G_tt − 2G_st,  β = 10/|T|, ε = 0.01
    linear      G/|T|

(Mariet & Sra 2016; Acharyya et al. 2021). What reaches a neuron over its edges, w_s·a_s, has the Gram matrix
w_s·w_t·G_st: one G serves all neurons of a layer.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 0.01
BANDWIDTH = 10.0  # β·|T|


class Gram:
    """Accumulates G, ``(n, n)`` in float64, and the number of examples.

    Args:
        n: how many units.
    """

    def __init__(self, n: int, device: torch.device | None = None) -> None:
        self.matrix = torch.zeros(n, n, dtype=torch.float64, device=device)
        self.examples = 0

    def add(self, activations: Tensor) -> None:
        """Take in more examples, ``(examples, n)``."""
        a = activations.detach().double()
        self.matrix.addmm_(a.T, a)
        self.examples += len(a)


def gaussian(gram: Tensor, examples: int, beta: float | None = None, epsilon: float = EPSILON) -> Tensor:
    """exp(−β‖a_s − a_t‖²) + ε·I.

    Args:
        gram: ``(…, n, n)``. examples: |T|. beta: β; None: 10/|T|. epsilon: what is added to the diagonal.
    Returns:
        ``(…, n, n)`` in float64.
    """
    G = gram.double()
    own = G.diagonal(dim1=-2, dim2=-1)
    distances = (own[..., :, None] + own[..., None, :] - 2 * G).clamp_min_(0.0)  # rounding may leave −0.0…
    kernel = torch.exp(-(BANDWIDTH / examples if beta is None else beta) * distances)
    kernel.diagonal(dim1=-2, dim2=-1).add_(epsilon)
    return kernel


def linear(gram: Tensor, examples: int) -> Tensor:
    """HᵀH/|T|, ``(…, n, n)`` in float64."""
    return gram.double() / examples


def weighted(gram: Tensor, weights: Tensor) -> Tensor:
    """The Gram matrices of w_s·a_s, one for each row of weights: ``(n, n)``, ``(b, n)`` → ``(b, n, n)``."""
    w = weights.detach().double()
    return w[:, :, None] * gram * w[:, None, :]
