"""Kernels from Gram matrices that were accumulated, against loops over examples."""

from __future__ import annotations

import math

import pytest
import torch

from secateurs.maths.kernels import Gram, gaussian, linear, weighted


def _streamed(a: torch.Tensor, *sizes: int) -> Gram:
    gram = Gram(a.shape[1])
    for part in a.split(list(sizes)):
        gram.add(part)
    return gram


def test_by_hand() -> None:
    """a_0 = (1, 2), a_1 = (3, 2): ‖·‖² = 4, |T| = 2, β = 5: exp(−20); linear (1·3 + 2·2)/2."""
    gram = _streamed(torch.tensor([[1.0, 3.0], [2.0, 2.0]]), 1, 1)
    assert gram.examples == 2 and gram.matrix.tolist() == [[5, 7], [7, 13]] and gram.matrix.dtype == torch.float64
    assert linear(gram.matrix, 2).tolist() == [[2.5, 3.5], [3.5, 6.5]]
    kernel = gaussian(gram.matrix, 2)
    assert kernel.flatten().tolist() == pytest.approx([1.01, math.exp(-20), math.exp(-20), 1.01], rel=1e-12)
    assert float(gaussian(gram.matrix, 2, beta=0.25, epsilon=0)[0, 1]) == pytest.approx(math.exp(-1))


def test_streamed_kernels_are_those_of_a_loop() -> None:
    a = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    gram = _streamed(a, 20, 17, 13)
    held = a.double()
    for s in range(6):
        for t in range(6):
            distance = sum(float(held[i, s] - held[i, t]) ** 2 for i in range(50))
            expected = math.exp(-0.2 * distance) + (0.01 if s == t else 0)
            assert float(gaussian(gram.matrix, 50)[s, t]) == pytest.approx(expected, rel=1e-9)


def test_units_that_say_the_same_are_no_distance_apart() -> None:
    """Large and equal: G_ss + G_tt − 2G_st is rounding, of either sign, and is clipped."""
    a = (1e4 + torch.rand(1000, 1, generator=torch.Generator().manual_seed(0))).double().expand(-1, 5)
    kernel = gaussian(_streamed(a, 333, 667).matrix, 1000)
    assert float(kernel.max()) <= 1.01 + 1e-15 and float(kernel.min()) > 0.999


def test_edges_share_one_gram_matrix() -> None:
    g = torch.Generator().manual_seed(0)
    x, w = torch.randn(40, 5, generator=g).double(), torch.randn(3, 5, generator=g).double()
    found = weighted(_streamed(x, 40).matrix, w)
    for j in range(3):
        torch.testing.assert_close(found[j], _streamed(w[j] * x, 40).matrix)
