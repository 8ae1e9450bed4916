"""Criteria: scores, one file each."""

from ..signals import Signals
from .base import Score
from .magnitude import Magnitude
from .random import Random
from .taylor import Taylor

SCORES: dict[str, type[Score]] = {cls.name: cls for cls in (Magnitude, Taylor, Random)}

__all__ = ["SCORES", "Magnitude", "Random", "Score", "Signals", "Taylor"]
