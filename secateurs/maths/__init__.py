"""Mathematics on tensors and numbers alone: nothing here knows what a network is."""

from .clearing import clear
from .spectra import condition_number, spectral_radius

__all__ = ["clear", "condition_number", "spectral_radius"]
