"""Selection: from a number per player to a mask that fits a budget."""

from collections.abc import Callable
from typing import TypeAlias

from ..partition import Players
from ..shapes import PerPlayer
from .budget import fit_budget
from .layerwise import layer_counts, layerwise, round_rate
from .pattern import parse_pattern, pattern_mask, unpatterned
from .shares import by_shares, erk, parse_shares
from .top import top_k
from .uniform import within_layers, within_neurons

Allocation: TypeAlias = Callable[[Players, PerPlayer], PerPlayer]

ALLOCATIONS: dict[str, Allocation] = {
    "global": lambda players, scores: scores,
    "uniform": within_layers,
    "erk": erk,
    "neuron": within_neurons,
}
"""How much where: from scores to the priority that the cut goes by."""

__all__ = [
    "ALLOCATIONS",
    "Allocation",
    "by_shares",
    "erk",
    "fit_budget",
    "layer_counts",
    "layerwise",
    "parse_pattern",
    "parse_shares",
    "pattern_mask",
    "round_rate",
    "top_k",
    "unpatterned",
    "within_layers",
    "within_neurons",
]
