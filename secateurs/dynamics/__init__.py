"""Dynamics: rules that move participation during training, and the optimizer wrapper that carries them."""

from .base import EPSILON, Arithmetic, Dynamics, Pulse, State, participants
from .budgeted import Budgeted, Timing
from .game import FixedPrices
from .gradual import Gradual
from .market import Market, MarketSettings, Rent
from .participation import Participating
from .registry import DYNAMICS
from .utility import Utility

__all__ = [
    "DYNAMICS",
    "EPSILON",
    "Arithmetic",
    "Budgeted",
    "Dynamics",
    "FixedPrices",
    "Gradual",
    "Market",
    "MarketSettings",
    "Participating",
    "Pulse",
    "Rent",
    "State",
    "Timing",
    "Utility",
    "participants",
]
