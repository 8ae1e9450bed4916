"""Secateurs: name a budget; training finds the network that fits it."""

__version__ = "0.1.0"
