"""Dynamics: rules that move participation during training, and the optimizer wrapper that carries them."""

from .base import EPSILON, Arithmetic, Dynamics, Pulse, State, participants
from .budgeted import Budgeted, Timing
from .concave import ConcaveMask, ConcaveSettings
from .game import FixedPrices
from .gradual import Gradual
from .market import Market, MarketSettings
from .participation import Participating
from .pricing import Priced, PricedSettings
from .registry import DYNAMICS
from .utility import Utility

__all__ = [
    "DYNAMICS",
    "EPSILON",
    "Arithmetic",
    "Budgeted",
    "ConcaveMask",
    "ConcaveSettings",
    "Dynamics",
    "FixedPrices",
    "Gradual",
    "Market",
    "MarketSettings",
    "Participating",
    "Priced",
    "PricedSettings",
    "Pulse",
    "State",
    "Timing",
    "Utility",
    "participants",
]
