"""The recoveries that a run can be told by name, and the ladder of those that are tried unasked."""

from __future__ import annotations

from .base import Recovery
from .batchnorm import BatchNormStatistics
from .bias import BiasCorrection
from .ladder import Rung
from .reconstruct import Reconstruct
from .reweight import Reweight, ReweightIntercept
from .scale import Scale

RECOVERIES: dict[str, type[Recovery]] = {
    cls.name: cls for cls in (BatchNormStatistics, BiasCorrection, Scale, Reweight, ReweightIntercept, Reconstruct)
}

LADDER: tuple[Rung, ...] = (Rung((BatchNormStatistics(),)),)
"""What ``--recovery auto`` tries, from free to costly."""
