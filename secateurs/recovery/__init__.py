"""Recovery: what is done to a network after it was cut. One file each."""

from .base import Entries, Recovery, Removal
from .batchnorm import BatchNormStatistics, recalibrate_batchnorm
from .ladder import Judge, Rung, Tried, climb

RECOVERIES: dict[str, type[Recovery]] = {cls.name: cls for cls in (BatchNormStatistics,)}

LADDER: tuple[Rung, ...] = (Rung((BatchNormStatistics(),)),)
"""What ``--recovery auto`` tries, from free to costly."""

__all__ = [
    "LADDER",
    "RECOVERIES",
    "BatchNormStatistics",
    "Entries",
    "Judge",
    "Recovery",
    "Removal",
    "Rung",
    "Tried",
    "climb",
    "recalibrate_batchnorm",
]
