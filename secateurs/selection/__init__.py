"""Selection: from a number per player to a mask that fits a budget."""

from .budget import fit_budget, top_k
from .uniform import within_layers

__all__ = ["fit_budget", "top_k", "within_layers"]
