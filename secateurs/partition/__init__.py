"""Players: groups of parameters that live or die together, the sums over them, and what they cost."""

from .gates import Gate, Gates
from .players import GRANULARITIES, Layer, Players, players, scale_free_layers
from .resources import Resource

__all__ = ["GRANULARITIES", "Gate", "Gates", "Layer", "Players", "Resource", "players", "scale_free_layers"]
