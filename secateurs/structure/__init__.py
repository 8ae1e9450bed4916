"""Structure: what in a network lives and dies together, and how to cut it out exactly.

>>> import torch
>>> from torch import nn
>>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
>>> structure = trace(model, torch.randn(2, 4))
>>> structure.atoms
3
>>> small = shrink(model, structure, torch.tensor([True, False, True])).model
>>> small[0]
Linear(in_features=4, out_features=2, bias=True)
"""

from __future__ import annotations

from .modules import PrunedMultiheadAttention
from .network import Node, network
from .optimizer import remap_optimizer
from .oracle import mask
from .shrink import Shrunk, shrink
from .surgery import Surgery, replay
from .trace import trace
from .types import Family, Frozen, Gate, Structure, Term
from .why import Why

apply_shapes = replay

__all__ = [
    "Family",
    "Frozen",
    "Gate",
    "Node",
    "PrunedMultiheadAttention",
    "Shrunk",
    "Structure",
    "Surgery",
    "Term",
    "Why",
    "apply_shapes",
    "mask",
    "network",
    "remap_optimizer",
    "replay",
    "shrink",
    "trace",
]
