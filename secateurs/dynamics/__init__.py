"""Dynamics: rules that move participation during training, and the optimizer wrapper that carries them."""

from .base import EPSILON, Arithmetic, Dynamics, Pulse, State, participants
from .budgeted import Budgeted, Timing
from .concave import ConcaveMask, ConcaveSettings
from .game import FixedPrices
from .gradual import Gradual
from .l0 import L0
from .l1_prox import L1Prox
from .l1_subgradient import L1Subgradient
from .market import Market, MarketSettings
from .participation import Participating
from .pricing import Priced, PricedSettings
from .registry import DYNAMICS
from .rigl import RigL
from .set import SparseEvolution
from .soft_filter import SoftFilter
from .straight_through import StraightThrough
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
    "L0",
    "L1Prox",
    "L1Subgradient",
    "Market",
    "MarketSettings",
    "Participating",
    "Priced",
    "PricedSettings",
    "Pulse",
    "RigL",
    "SoftFilter",
    "SparseEvolution",
    "State",
    "StraightThrough",
    "Timing",
    "Utility",
    "participants",
]
