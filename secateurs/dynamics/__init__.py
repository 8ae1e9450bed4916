"""Dynamics: rules that move participation during training, and the optimizer wrapper that carries them."""

from .base import EPSILON, Arithmetic, Dynamics, Pulse, participants
from .game import FixedPrices
from .market import Market, MarketSettings, Rent
from .participation import Participating
from .utility import Utility

__all__ = [
    "EPSILON",
    "Arithmetic",
    "Dynamics",
    "FixedPrices",
    "Market",
    "MarketSettings",
    "Participating",
    "Pulse",
    "Rent",
    "Utility",
    "participants",
]
