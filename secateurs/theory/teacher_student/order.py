"""Order parameters: all that the error of a student knows of its weights, once the inputs are Gaussian.

    Q_ik = w_i·w_k/N      R_in = w_i·w*_n/N      T_nm = w*_n·w*_m/N                                (Acharyya et al., 3)

are the covariances of the hidden units' local fields. With A the teacher's second layer, v the student's and
a = (−v, A) the weights of the difference of the two outputs, y − φ = Σ_a a_a g(x_a), the generalisation error is

    ε = ½⟨(φ − y)²⟩ = ½ Σ_ab a_a a_b I2(a, b) = f1(Q) + f2(T) − f3(R, Q, T)                           (13)–(16)

It is **half** the mean squared error, against labels without their noise; σ²/2 comes on top where labels are noisy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .averages import i2


@dataclass(frozen=True)
class Order:
    """Order parameters of one student and its teacher, or of many: leading dimensions are a batch.

    Attributes:
        Q: (…, K, K). R: (…, K, M). T: (…, M, M). v: (…, K), the student's second layer. A: (…, M), the teacher's.
    """

    Q: Tensor
    R: Tensor
    T: Tensor
    v: Tensor
    A: Tensor

    @classmethod
    def of(cls, w: Tensor, v: Tensor, teacher: Tensor, A: Tensor) -> Order:
        """From the weights, (…, K, N) and (…, M, N), in float64 whatever theirs."""
        w, teacher = w.double(), teacher.double()
        N = w.shape[-1]
        Q, R, T = (a @ b.transpose(-2, -1) / N for a, b in ((w, w), (w, teacher), (teacher, teacher)))
        batch = v.shape[:-1]
        M = T.shape[-1]
        return cls(Q, R, T.expand(*batch, M, M), v.double(), A.double().expand(*batch, M))

    @property
    def covariance(self) -> Tensor:
        """C of the local fields, student's units first, (…, K + M, K + M)."""
        above = torch.cat([self.Q, self.R], -1)
        return torch.cat([above, torch.cat([self.R.transpose(-2, -1), self.T], -1)], -2)

    @property
    def difference(self) -> Tensor:
        """a = (−v, A), (…, K + M)."""
        return torch.cat([-self.v, self.A], -1)

    def error(self) -> Tensor:
        """The generalisation error (13), half the mean squared error, (…)."""
        a = self.difference
        return 0.5 * torch.einsum("...a,...b,...ab->...", a, a, i2(self.covariance))

    def nodes(self, keep: Tensor) -> Order:
        """The student of whose units only some are left: rows of w are zeroed, and g(0) = 0.

        Args:
            keep: (…, K), true for what stays; it may have more leading dimensions than the batch.
        """
        kept = keep.to(self.Q.dtype)
        Q = self.Q * kept[..., :, None] * kept[..., None, :]
        return Order(Q, self.R * kept[..., None], self.T.expand(*Q.shape[:-2], *self.T.shape[-2:]),
                     self.v * kept, self.A.expand(*Q.shape[:-2], -1))  # fmt: skip

    def reweighted(self, keep: Tensor) -> Order:
        """The same, after those that stay took over for the others: v_Y + L_YY⁺·L_YD·v_D, least squares of the local
        fields (Mariet & Sra 2016, §2.2, on pre-activations as in the authors' code), whose covariance is Q.

        Args:
            keep: (K,).
        """
        Y, D = keep.nonzero()[:, 0], (~keep).nonzero()[:, 0]
        rows = self.Q[..., Y, :]
        taken = torch.linalg.pinv(rows[..., Y], hermitian=True) @ rows[..., D] @ self.v[..., D, None]
        v = self.v.clone()
        v[..., Y] += taken[..., 0]
        return Order(self.Q, self.R, self.T, v, self.A).nodes(keep)

    def thinned(self, c: float) -> Order:
        """Lemma 4: the expected order parameters when every weight stays with probability c.

        E[Q'_ii] = c·Q_ii, for the two factors are one weight and its coin is tossed once; E[Q'_ik] = c²·Q_ik else;
        E[R'] = c·R. (The proof as printed has c²·Q_ii; the statement, and Theorem 3, have c·Q_ii.)
        """
        own = torch.diag_embed(self.Q.diagonal(dim1=-2, dim2=-1))
        return Order(c**2 * self.Q + (c - c**2) * own, c * self.R, self.T, self.v, self.A)

    def scaled(self, factor: Tensor | float) -> Order:
        """The student with its second layer times ``factor``, (…) or a number."""
        f = torch.as_tensor(factor, dtype=self.v.dtype)
        return Order(self.Q, self.R, self.T, self.v * f[..., None], self.A)


def ansatz(M: int, Z: int, strength: float = 1.0) -> Order:
    """The converged student of the theorems: Z units for each of M orthonormal teacher units (assumption A6).

    Q is 1 within a group and 0 between groups, R likewise, T the identity, and v = v*/Z by Lemma 3.
    """
    group = torch.arange(M * Z) // Z
    Q = (group[:, None] == group).double()
    R = (group[:, None] == torch.arange(M)).double()
    v = torch.full((M * Z,), strength / Z, dtype=torch.float64)
    return Order(Q, R, torch.eye(M, dtype=torch.float64), v, torch.full((M,), strength, dtype=torch.float64))


__all__ = ["Order", "ansatz"]
