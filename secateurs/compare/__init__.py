"""Grids of runs: which method, at which size, for this model?

``compare`` makes the runs that are missing in a folder and sums them up in a :class:`secateurs.records.Comparison`.
Names are imported when first used: whoever only looks at the index of runs needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "Asked": "request",
    "How": "sweep",
    "SEARCHED": "space",
    "Search": "request",
    "Index": "index",
    "asked": "request",
    "compare": "sweep",
    "distinct": "request",
    "origin": "workers",
    "product": "request",
    "read_budgets": "request",
    "read_methods": "request",
    "renewed": "joining",
    "standing": "joining",
    "summarise": "summary",
    "summed_up": "summary",
    "usual_grid": "rates",
    "without": "joining",
}

__all__ = [
    "Asked",
    "How",
    "SEARCHED",
    "Search",
    "Index",
    "asked",
    "compare",
    "distinct",
    "origin",
    "product",
    "read_budgets",
    "read_methods",
    "renewed",
    "standing",
    "summarise",
    "summed_up",
    "usual_grid",
    "without",
]

if TYPE_CHECKING:
    from .index import Index
    from .joining import renewed, standing, without
    from .rates import usual_grid
    from .request import Asked, Search, asked, distinct, product, read_budgets, read_methods
    from .space import SEARCHED
    from .summary import summarise, summed_up
    from .sweep import How, compare
    from .workers import origin


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
