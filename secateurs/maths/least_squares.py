"""Linear least squares from second moments: what streams by is added up, and no example is kept.

For g problems side by side, each with rows (x ∈ R^d, y ∈ R^o), the sums Σx, Σy, Σxxᵀ, Σxyᵀ and Σy² are all that

    min over W, b of Σ‖y − Wx − b‖² + λ·Σ_j S_jj·‖W_j‖²        S = Σ(x − x̄)(x − x̄)ᵀ, or Σxxᵀ where b = 0

needs. The penalty is that of equally scaled inputs, so it has no unit: with R the matrix of correlations,
(R + λI)·β = r. As W = 0 is a candidate and b is not penalised, the sum of squares never rises above Σ‖y − ȳ‖².
"""

from __future__ import annotations

import torch
from torch import Tensor

PIECE = 1 << 23  # numbers of small Gram matrices held at a time
CONSTANT = 1e-12  # a share of the second moment: an input whose variance is less is rounding, and gets no weight


class Moments:
    """Sums over rows, in float64.

    Args:
        groups, inputs, outputs: g, d and o.
    Attributes:
        count: rows. x: ``(g, d)``. y: ``(g, o)``. xx: ``(g, d, d)``. xy: ``(g, d, o)``. yy: ``(g, o)``.
    """

    def __init__(self, groups: int, inputs: int, outputs: int, device: torch.device | str = "cpu") -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(groups, *shape, dtype=torch.float64, device=device)

        self.count = 0
        self.x, self.y = zeros(inputs), zeros(outputs)
        self.xx, self.xy, self.yy = zeros(inputs, inputs), zeros(inputs, outputs), zeros(outputs)

    def add(self, x: Tensor, y: Tensor | None = None) -> None:
        """Take rows ``(g, rows, d)`` and ``(g, rows, o)``; without y, only what is of x alone is added up."""
        x = x.double()
        self.count += x.shape[1]
        self.x += x.sum(1)
        self.xx += x.mT @ x
        if y is not None:
            y = y.double()
            self.y += y.sum(1)
            self.xy += x.mT @ y
            self.yy += y.square().sum(1)

    @property
    def finite(self) -> bool:
        """Whether all that was added up is finite."""
        return all(bool(t.sum().isfinite()) for t in (self.xx, self.xy, self.yy))

    def mapped(self, weight: Tensor) -> Moments:
        """Those of the same x with y = ``weight``·x, ``(g, o, d)``."""
        out = self._same(self.x, self.xx)
        out.xy, out.y = self.xx @ weight.mT, (weight @ self.x.unsqueeze(-1)).squeeze(-1)
        out.yy = ((weight @ self.xx) * weight).sum(-1)
        return out

    def split(self, inputs: Tensor, outputs: Tensor) -> Moments:
        """Those of some entries of x on others of them."""
        rows = self.xx[:, inputs]
        out = self._same(self.x[:, inputs], rows[:, :, inputs])
        out.y, out.xy = self.x[:, outputs], rows[:, :, outputs]
        out.yy = self.xx.diagonal(dim1=1, dim2=2)[:, outputs]
        return out

    def _same(self, x: Tensor, xx: Tensor) -> Moments:
        out = Moments(0, 0, 0)
        out.count, out.x, out.xx = self.count, x, xx
        return out


def solve(
    moments: Moments, ridge: float, *, intercept: bool = False, keep: Tensor | None = None, refine: int = 0
) -> tuple[Tensor, Tensor]:
    """The minimiser (W, b), ``(g, o, d)`` and ``(g, o)``; float64.

    Args:
        ridge: λ > 0. Inputs that determine each other share the weight.
        intercept: whether there is a b; else it is zero.
        keep: which entries of W may differ from zero, ``(d,)`` for all rows or ``(g, o, d)``.
        refine: how often the residual of the normal equations is solved for again. Each time the penalty's share in
            the answer, λ/(σ + λ) along an eigenvector of R, is multiplied by itself; λ then stands for no more than
            the rank that is believed.
    """
    xx, xy = moments.xx, moments.xy
    if intercept:
        xx = xx - moments.x.unsqueeze(2) * moments.x.unsqueeze(1) / moments.count
        xy = xy - moments.x.unsqueeze(2) * moments.y.unsqueeze(1) / moments.count
    diagonal = xx.diagonal(dim1=1, dim2=2)
    varies = diagonal > CONSTANT * moments.xx.diagonal(dim1=1, dim2=2)
    scale = torch.where(varies, diagonal, 1).rsqrt() * varies
    xx, xy = xx * scale.unsqueeze(2) * scale.unsqueeze(1), xy * scale.unsqueeze(2)
    if keep is None or keep.dim() == 1:
        weight = _alike(xx, xy, ridge, refine, keep)
    else:
        weight = _row_by_row(xx, xy, ridge, refine, keep)
    weight = weight * scale.unsqueeze(1)
    if not intercept:
        return weight, torch.zeros_like(moments.y)
    return weight, (moments.y - (weight @ moments.x.unsqueeze(-1)).squeeze(-1)) / moments.count


def _alike(xx: Tensor, xy: Tensor, ridge: float, refine: int, keep: Tensor | None) -> Tensor:
    """All rows of W have the same places: one factor a group."""
    if keep is None:
        return _penalised(xx, xy, ridge, refine).mT
    places = keep.nonzero().flatten()
    weight = torch.zeros_like(xy.mT)
    weight[:, :, places] = _penalised(xx[:, places][:, :, places], xy[:, places], ridge, refine).mT
    return weight


def _row_by_row(xx: Tensor, xy: Tensor, ridge: float, refine: int, keep: Tensor) -> Tensor:
    """Each row of W has places of its own: as many equations as the row has places, rows of like size together."""
    groups, outputs, inputs = keep.shape
    keep, target = keep.reshape(-1, inputs), xy.mT.reshape(-1, inputs)
    weight = torch.zeros_like(target)
    sizes, order = keep.sum(1).sort(descending=True)
    start = 0
    while start < len(order) and (width := int(sizes[start])):
        rows = order[start : start + max(1, PIECE // width**2)]
        there, places = keep[rows].sort(stable=True, dim=1, descending=True)
        there, places = there[:, :width], places[:, :width]  # beyond a row's own size there is only λ on the diagonal
        small = xx[(rows // outputs)[:, None, None], places.unsqueeze(2), places.unsqueeze(1)]
        small = small * (there.unsqueeze(2) & there.unsqueeze(1))
        right = target[rows].gather(1, places) * there
        found = _penalised(small, right.unsqueeze(2), ridge, refine).squeeze(2)
        weight[rows] = weight[rows].scatter(1, places, found)
        start += len(rows)
    return weight.reshape(groups, outputs, inputs)


def _penalised(xx: Tensor, xy: Tensor, ridge: float, refine: int) -> Tensor:
    """(xx + λI)⁻¹·xy, refined."""
    factor = torch.linalg.cholesky(xx + ridge * torch.eye(xx.shape[-1], dtype=xx.dtype, device=xx.device))
    found = torch.cholesky_solve(xy, factor)
    for _ in range(refine):
        found = found + torch.cholesky_solve(xy - xx @ found, factor)
    return found
