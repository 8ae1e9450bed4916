"""Grids of runs: which method, at which size, for this model?

``compare`` makes the runs that are missing in a folder and sums them up in a :class:`secateurs.records.Comparison`.
"""

from .asked import Asked, asked, product, read_budgets, read_methods, standing
from .index import Index
from .rates import usual_grid
from .summary import summarise, summed_up
from .sweep import How, compare

__all__ = [
    "Asked",
    "How",
    "Index",
    "asked",
    "compare",
    "product",
    "read_budgets",
    "read_methods",
    "standing",
    "summarise",
    "summed_up",
    "usual_grid",
]
