"""Recovery: what is done to a network after it was cut. One file each."""

from .base import Entries, Recovery
from .batchnorm import BatchNormStatistics, recalibrate_batchnorm

RECOVERIES: dict[str, type[Recovery]] = {cls.name: cls for cls in (BatchNormStatistics,)}

__all__ = ["RECOVERIES", "BatchNormStatistics", "Entries", "Recovery", "recalibrate_batchnorm"]
