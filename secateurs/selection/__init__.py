"""Selection: from a number per player to a mask that fits a budget."""

from collections.abc import Callable

from ..partition import Players
from ..shapes import PerPlayer
from .budget import fit_budget
from .top import top_k
from .uniform import within_layers

ALLOCATIONS: dict[str, Callable[[Players, PerPlayer], PerPlayer]] = {
    "global": lambda players, scores: scores,
    "uniform": within_layers,
}
"""How much where: from scores to the priority that the cut goes by."""

__all__ = ["ALLOCATIONS", "fit_budget", "top_k", "within_layers"]
