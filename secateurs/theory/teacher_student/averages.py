"""Means over Gaussian local fields that the teacher–student equations are made of.

The local fields x = w·ξ/√N of all hidden units, of student and teacher, are jointly Gaussian with mean 0 and
covariance C. With g(x) = erf(x/√2), so that g'(x) = √(2/π)·e^(−x²/2), four means are closed forms in C (Saad & Solla
1995; Goldt et al. 2019, appendix A):

    I2(a, b)       = ⟨g(a) g(b)⟩             I3(i, k, a)    = ⟨g'(i) k g(a)⟩
    J2(i, k)       = ⟨g'(i) g'(k)⟩           I4(i, k, a, b) = ⟨g'(i) g'(k) g(a) g(b)⟩

Each function takes C as (…, D, D), and returns the mean for every choice of indices at once; where the indices do not
run over all D, they are slices.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TWO_OVER_PI = 2.0 / math.pi


def _variances(C: Tensor) -> Tensor:
    """1 + C_aa, (…, D)."""
    return 1.0 + C.diagonal(dim1=-2, dim2=-1)


def i2(C: Tensor) -> Tensor:
    """⟨g(a) g(b)⟩ = (2/π)·asin(C_ab/√((1+C_aa)(1+C_bb))), (…, D, D)."""
    root = _variances(C).rsqrt()
    return TWO_OVER_PI * torch.asin((C * root[..., :, None] * root[..., None, :]).clamp(-1.0, 1.0))


def j2(C: Tensor) -> Tensor:
    """⟨g'(i) g'(k)⟩ = (2/π)/√((1+C_ii)(1+C_kk) − C_ik²), (…, D, D)."""
    return TWO_OVER_PI * _lambda4(C).rsqrt()


def i3(C: Tensor, units: int) -> Tensor:
    """⟨g'(i) k g(a)⟩ for i among the first ``units``, k and a among all, (…, units, D, D).

    (2/π)·(C_ka(1+C_ii) − C_ik·C_ia)/((1+C_ii)·√Λ3), Λ3 = (1+C_ii)(1+C_aa) − C_ia².
    """
    one = _variances(C)[..., :units, None]
    C_i = C[..., :units, :]
    root = (one * _variances(C)[..., None, :] - C_i**2).sqrt()
    top = C[..., None, :, :] * one[..., None] - C_i[..., :, None] * C_i[..., None, :]
    return TWO_OVER_PI * top / (one * root)[..., None, :]


def i4(C: Tensor, units: int) -> Tensor:
    """⟨g'(i) g'(k) g(a) g(b)⟩ for i, k among the first ``units``, a, b among all, (…, units, units, D, D).

    (4/π²)·asin(Λ0/√(Λ_a·Λ_b))/√Λ4, Λ4 = (1+C_ii)(1+C_kk) − C_ik², where Λ0 = B_ab and Λ_a = B_aa + Λ4 of

        B_ab = Λ4·C_ab − C_ka·C_kb(1+C_ii) − C_ia·C_ib(1+C_kk) + C_ik(C_ia·C_kb + C_ib·C_ka)

    which is Λ4 times the covariance of a and b under the measure that g'(i)·g'(k) tilts.
    """
    lam = _lambda4(C)[..., :units, :units]
    one = _variances(C)[..., :units]
    C_i = C[..., :units, :]
    first, second = C_i[..., :, None, :], C_i[..., None, :, :]  # C_ia, C_ka
    cross = first[..., :, None] * second[..., None, :]  # C_ia·C_kb
    B = (
        lam[..., None, None] * C[..., None, None, :, :]
        - one[..., :, None, None, None] * (second[..., :, None] * second[..., None, :])
        - one[..., None, :, None, None] * (first[..., :, None] * first[..., None, :])
        + C_i[..., :units][..., None, None] * (cross + cross.transpose(-2, -1))
    )
    root = (B.diagonal(dim1=-2, dim2=-1) + lam[..., None]).rsqrt()
    angle = torch.asin((B * root[..., :, None] * root[..., None, :]).clamp(-1.0, 1.0))
    return TWO_OVER_PI**2 * angle * lam.rsqrt()[..., None, None]


def _lambda4(C: Tensor) -> Tensor:
    one = _variances(C)
    return one[..., :, None] * one[..., None, :] - C**2


__all__ = ["i2", "i3", "i4", "j2"]
