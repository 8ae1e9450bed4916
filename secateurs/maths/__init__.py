"""Mathematics on tensors and numbers alone: nothing here knows what a network is."""

from .clearing import clear
from .determinantal import Determinantal
from .penalties import L1, MCP, PENALTIES, SCAD, Log, Lp, Penalty
from .spectra import condition_number, spectral_radius
from .splitting import otsu

__all__ = [
    "L1",
    "MCP",
    "PENALTIES",
    "SCAD",
    "Determinantal",
    "Log",
    "Lp",
    "Penalty",
    "clear",
    "condition_number",
    "otsu",
    "spectral_radius",
]
