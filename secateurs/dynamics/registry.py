"""The rules that a run can be told by name."""

from __future__ import annotations

from .budgeted import Budgeted
from .concave import ConcaveMask
from .gradual import Gradual
from .l0 import L0
from .l1_prox import L1Prox
from .l1_subgradient import L1Subgradient
from .rigl import RigL
from .set import SparseEvolution
from .soft_filter import SoftFilter
from .straight_through import StraightThrough

DYNAMICS: dict[str, type[Budgeted]] = {
    cls.name: cls
    for cls in (
        Gradual,
        L1Prox,
        L1Subgradient,
        L0,
        SoftFilter,
        SparseEvolution,
        RigL,
        StraightThrough,
        ConcaveMask,
    )
}
