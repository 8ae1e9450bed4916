"""Recovery: what is done to a network after it was cut. One file each."""

from .base import Entries, Recovery, Removal
from .batchnorm import BatchNormStatistics, recalibrate_batchnorm
from .bias import BiasCorrection
from .ladder import Judge, Rung, Tried, climb
from .reconstruct import Reconstruct
from .reweight import Reweight, ReweightIntercept
from .scale import Scale

RECOVERIES: dict[str, type[Recovery]] = {
    cls.name: cls for cls in (BatchNormStatistics, BiasCorrection, Scale, Reweight, ReweightIntercept, Reconstruct)
}

LADDER: tuple[Rung, ...] = (Rung((BatchNormStatistics(),)),)
"""What ``--recovery auto`` tries, from free to costly."""

__all__ = [
    "LADDER",
    "RECOVERIES",
    "BatchNormStatistics",
    "BiasCorrection",
    "Entries",
    "Judge",
    "Reconstruct",
    "Recovery",
    "Removal",
    "Reweight",
    "ReweightIntercept",
    "Rung",
    "Scale",
    "Tried",
    "climb",
    "recalibrate_batchnorm",
]
