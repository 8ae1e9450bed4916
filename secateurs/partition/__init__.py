"""Players: groups of parameters that live or die together, the sums over them, what they cost and what may go."""

from .find import GRANULARITIES, players
from .gate import Gate
from .gates import Gates
from .layers import Layer, Limits, Unit, matching
from .limits import device_multiple, parse_limit
from .players import MEASURED, Players
from .producers import producers
from .resources import Resource
from .scale_free import find_scale_free, scale_free_layers

__all__ = [
    "GRANULARITIES",
    "Gate",
    "Gates",
    "MEASURED",
    "Layer",
    "Limits",
    "Players",
    "Resource",
    "Unit",
    "device_multiple",
    "find_scale_free",
    "matching",
    "parse_limit",
    "players",
    "producers",
    "scale_free_layers",
]
