"""Shapes of the arrays that travel between the layers, named once.

``players`` is the number of players, ``atoms`` the number of coupling classes the structure found,
``layers`` the number of families of players that compete and are counted together.
"""

from __future__ import annotations

from typing import TypeAlias

from jaxtyping import Bool, Float, Int
from torch import Tensor

Participation: TypeAlias = Float[Tensor, "players"]
PerPlayer: TypeAlias = Float[Tensor, "players"]
PerLayer: TypeAlias = Float[Tensor, "layers"]
Mask: TypeAlias = Bool[Tensor, "players"]
AtomMask: TypeAlias = Bool[Tensor, "atoms"]
PlayerIndex: TypeAlias = Int[Tensor, "players"]
