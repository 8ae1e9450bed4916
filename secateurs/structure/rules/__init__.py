"""One rule per operator family, found by the ATen operator's name.

A rule takes a :class:`~.call.Call` and returns the label of the output (a list for several outputs). What
no rule covers freezes the nodes that it touches.
"""

from __future__ import annotations

from . import (
    attention,
    contraction,
    creation,
    experts,
    gather,
    joining,
    normalisation,
    pieces,
    pointwise,
    pooling,
    recurrent,
    reduction,
    view,
)
from .call import RULES, Call, register

__all__ = [
    "RULES",
    "Call",
    "register",
    "attention",
    "contraction",
    "creation",
    "experts",
    "gather",
    "joining",
    "normalisation",
    "pieces",
    "pointwise",
    "pooling",
    "recurrent",
    "reduction",
    "view",
]
