"""Selection: from a number per player to a mask that fits a budget."""

from collections.abc import Callable

from ..partition import Players
from ..shapes import PerPlayer
from .budget import fit_budget, top_k
from .layerwise import layer_counts, layerwise, round_rate
from .uniform import within_layers

ALLOCATIONS: dict[str, Callable[[Players, PerPlayer], PerPlayer]] = {
    "global": lambda players, scores: scores,
    "uniform": within_layers,
}
"""How much where: from scores to the priority that the cut goes by."""

__all__ = ["ALLOCATIONS", "fit_budget", "layer_counts", "layerwise", "round_rate", "top_k", "within_layers"]
